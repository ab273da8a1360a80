package migrate

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// Option is an option of a program, and what it becomes. docs/migrate.md has the same
// tables.
type Option struct {
	Name   string // "*" at its end stands for any text
	Key    string // of our file; "" for none
	Advice string // what to do instead if there is no key, or a remark
}

// Options returns the options of a program.
func Options(program Program) []Option {
	switch program {
	case Telemt:
		return telemtOptions
	case Mtprotoproxy:
		return mtprotoproxyOptions
	case MTProxy:
		return mtproxyOptions
	}
	return mtgOptions
}

// lookup returns the option of a name, nil if it is not known.
func lookup(known []Option, name string) *Option {
	for i := range known {
		prefix, wild := strings.CutSuffix(known[i].Name, "*")
		if known[i].Name == name || wild && strings.HasPrefix(name, prefix) {
			return &known[i]
		}
	}
	return nil
}

// isPrefix reports whether options that are known begin with name and a dot.
func isPrefix(known []Option, name string) bool {
	for i := range known {
		if strings.HasPrefix(known[i].Name, name+".") {
			return true
		}
	}
	return false
}

// setting is an option that a configuration has. Values are string, int64, float64,
// bool, nil, []any, and *dict for maps.
type setting struct {
	name  string
	line  int
	value any
}

// dict is a map in the order of the file.
type dict struct {
	keys   []string
	values map[string]any
}

func newDict() *dict { return &dict{values: make(map[string]any)} }

func (d *dict) set(key string, value any) {
	if _, ok := d.values[key]; !ok {
		d.keys = append(d.keys, key)
	}
	d.values[key] = value
}

// options is what a configuration has.
type options struct {
	known    []Option
	settings []setting
	notes    []Note // about what could not be read
}

func (o *options) add(name string, line int, value any) {
	o.settings = append(o.settings, setting{name, line, value})
}

// all returns the settings of a name.
func (o *options) all(name string) (found []setting) {
	for _, s := range o.settings {
		if s.name == name {
			found = append(found, s)
		}
	}
	return found
}

// get returns the last value of a name, nil if there is none.
func (o *options) get(name string) any {
	if all := o.all(name); len(all) > 0 {
		return all[len(all)-1].value
	}
	return nil
}

func (o *options) line(name string) int {
	if all := o.all(name); len(all) > 0 {
		return all[len(all)-1].line
	}
	return 0
}

// text returns a value as a text, "" if there is none, or it is a list or a map.
func (o *options) text(name string) string { return textOf(o.get(name)) }

func textOf(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case bool:
		return strconv.FormatBool(v)
	}
	return ""
}

// flag returns a boolean, or usual if there is none.
func (o *options) flag(name string, usual bool) bool {
	switch v := o.get(name).(type) {
	case bool:
		return v
	case int64:
		return v != 0
	}
	return usual
}

// number returns a whole number, 0 if there is none.
func (o *options) number(name string) int64 { return numberOf(o.get(name)) }

func numberOf(value any) int64 {
	switch v := value.(type) {
	case int64:
		return v
	case float64:
		if v > -1<<53 && v < 1<<53 {
			return int64(v)
		}
	case string:
		n, _ := strconv.ParseInt(v, 10, 64)
		return n
	}
	return 0
}

// list returns the elements of a list, or a value that stands for a list of one.
func (o *options) list(name string) []any {
	switch v := o.get(name).(type) {
	case nil:
		return nil
	case []any:
		return v
	default:
		return []any{v}
	}
}

// table returns a map, an empty one if there is none.
func (o *options) table(name string) *dict {
	if d, ok := o.get(name).(*dict); ok {
		return d
	}
	return newDict()
}

// noteRest notes the options that have no counterpart or are not known.
func (o *options) noteRest(out *output) {
	out.notes = append(out.notes, o.notes...)
	noted := make(map[string]bool)
	for _, s := range o.settings {
		if noted[s.name] {
			continue
		}
		noted[s.name] = true
		switch option := lookup(o.known, s.name); {
		case option == nil:
			out.note(s.line, quoteOption(s.name), "this option is not known to the import")
		case option.Key == "":
			out.note(s.line, quoteOption(s.name), "%s", option.Advice)
		}
	}
}

// maxQuoted limits what a note quotes, in bytes.
const maxQuoted = 60

// quoteOption returns a name for a note. A long one may have a secret in it.
func quoteOption(name string) string {
	if len(name) > maxQuoted {
		return "an option with a long name"
	}
	return printable(name)
}

// printable returns a text in which question marks stand for control characters, which
// a comment must not have, and for those that change the order of text on a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// note adds a note.
func (o *output) note(line int, option, format string, args ...any) {
	o.notes = append(o.notes, Note{line, option, fmt.Sprintf(format, args...)})
}
