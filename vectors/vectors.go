// Package vectors holds test vectors for MTProto transports as plain text, one
// case a file, for this library and for every other implementation. README.md
// beside it says what the files look like and what each test does.
//
// The package itself knows nothing of MTProto: it lists the files and cuts
// them into fields. What they expect was made without this library, or taken by a
// a client of others: see generate.py, and the field "source".
package vectors

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

//go:embed data
var files embed.FS

// extension is what the name of every case's file ends in.
const extension = ".txt"

// FS returns the files as they lie in data: one directory a row of the table
// in README.md, one file a case.
func FS() fs.FS {
	sub, err := fs.Sub(files, "data")
	if err != nil {
		panic("internal error: " + err.Error())
	}
	return sub
}

// Field is one "key: value" of a case.
type Field struct{ Key, Value string }

// Case is one file.
type Case struct {
	// Row is the directory, and Name the file's name without ".txt".
	Row, Name string
	// Fields are in the order of the file. A key may occur more than once.
	Fields []Field
}

// Get returns the value of the first field of that key, and whether there is
// one.
func (c Case) Get(key string) (value string, ok bool) {
	for _, f := range c.Fields {
		if f.Key == key {
			return f.Value, true
		}
	}
	return "", false
}

// All returns the values of every field of that key, in their order.
func (c Case) All(key string) []string {
	var values []string
	for _, f := range c.Fields {
		if f.Key == key {
			values = append(values, f.Value)
		}
	}
	return values
}

// Rows returns the names of the directories, sorted. It fails if there are
// none.
func Rows() ([]string, error) { return rows(FS()) }

// Load reads the cases of one row, sorted by name. It fails if there are none,
// and if a file is not in the format.
func Load(row string) ([]Case, error) { return load(FS(), row) }

func rows(fsys fs.FS) ([]string, error) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, fmt.Errorf("vectors: %w", err)
	}
	var names []string
	for _, entry := range entries {
		if !entry.IsDir() {
			return nil, fmt.Errorf("vectors: %s is not a directory", entry.Name())
		}
		names = append(names, entry.Name())
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("vectors: no rows")
	}
	return names, nil
}

func load(fsys fs.FS, row string) ([]Case, error) {
	entries, err := fs.ReadDir(fsys, row)
	if err != nil {
		return nil, fmt.Errorf("vectors: %w", err)
	}
	var cases []Case
	for _, entry := range entries {
		name, ok := strings.CutSuffix(entry.Name(), extension)
		if !ok || entry.IsDir() {
			return nil, fmt.Errorf("vectors: %s/%s is not a case, whose name ends in %s", row, entry.Name(), extension)
		}
		text, err := fs.ReadFile(fsys, path.Join(row, entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("vectors: %w", err)
		}
		fields, err := ParseFields(string(text))
		if err != nil {
			return nil, fmt.Errorf("vectors: %s/%s: %w", row, entry.Name(), err)
		}
		cases = append(cases, Case{Row: row, Name: name, Fields: fields})
	}
	if len(cases) == 0 {
		return nil, fmt.Errorf("vectors: no cases in %s", row)
	}
	return cases, nil
}

// ParseFields reads the text of one file:
//
//	key: value
//	  more of the value
//
// A key is of the letters a to z, digits and hyphens. One space follows the
// colon unless the value is empty, and the value is the rest of the line as it
// stands. A line that begins with two spaces goes on with the value, with
// nothing in between. Every line ends in a single newline.
func ParseFields(text string) ([]Field, error) {
	if text == "" {
		return nil, fmt.Errorf("empty file")
	}
	body, ok := strings.CutSuffix(text, "\n")
	if !ok {
		return nil, fmt.Errorf("no newline at the end")
	}
	var fields []Field
	for i, line := range strings.Split(body, "\n") {
		if more, ok := strings.CutPrefix(line, "  "); ok && len(fields) > 0 {
			fields[len(fields)-1].Value += more
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if !ok || !isKey(key) {
			return nil, fmt.Errorf("line %d has no key", i+1)
		}
		if value != "" {
			if value, ok = strings.CutPrefix(value, " "); !ok || value == "" {
				return nil, fmt.Errorf("line %d: want one space and a value behind the colon, or nothing", i+1)
			}
		}
		fields = append(fields, Field{key, value})
	}
	return fields, nil
}

func isKey(key string) bool {
	for _, r := range key {
		if !('a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-') {
			return false
		}
	}
	return key != ""
}
