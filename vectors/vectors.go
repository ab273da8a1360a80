// Package vectors has test vectors for MTProto transports as plain text files, one
// for each case, for this library and for other implementations. README.md
// describes the format and the tests.
//
// The package only lists the files and parses them into fields; it does not depend
// on MTProto. Expected values were produced without this library, or recorded from
// other projects' clients: see generate.py, and the field "source".
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

// extension is the file name extension of every case.
const extension = ".txt"

// FS returns the contents of data: one directory for each row of the table in
// README.md, one file for each case.
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

// Get returns the value of the first field of that key, and reports whether there
// is one.
func (c Case) Get(key string) (value string, ok bool) {
	for _, f := range c.Fields {
		if f.Key == key {
			return f.Value, true
		}
	}
	return "", false
}

// All returns the values of all fields of that key, in the order of the file.
func (c Case) All(key string) []string {
	var values []string
	for _, f := range c.Fields {
		if f.Key == key {
			values = append(values, f.Value)
		}
	}
	return values
}

// Rows returns the names of the directories, sorted. It returns an error if there
// are none.
func Rows() ([]string, error) { return rows(FS()) }

// Load returns the cases of one row, sorted by name. It returns an error if there
// are none, or if a file is not valid.
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
			return nil, fmt.Errorf("vectors: %s/%s is not a case, want a file name ending in %s", row, entry.Name(), extension)
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

// ParseFields parses the text of one file:
//
//	key: value
//	  more of the value
//
// A key consists of the letters a to z, digits and hyphens. One space follows the
// colon unless the value is empty. The value is the rest of the line unchanged. A
// line that begins with two spaces continues the value without a separator. Every
// line ends in a single newline. Anything else is an error.
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
				return nil, fmt.Errorf("line %d: want one space and a value after the colon, or nothing", i+1)
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
