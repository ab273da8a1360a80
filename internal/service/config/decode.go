package config

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// Defaulter is implemented by the structs of arrays of tables whose defaults are not
// their zero values.
type Defaulter interface{ SetDefaults() }

// Decode decodes a TOML document into the struct that into points to. Keys that the
// document does not have leave their fields as they are. The document keeps data.
//
// The error is an *Errors, which has all errors of the document: unknown keys, wrong
// types and values that their types do not accept. Only a document whose syntax is
// wrong has a single one. After an error the struct is partly filled.
//
// Errors quote no values, unless those of UnmarshalText do.
func Decode(file string, data []byte, into any) (*Document, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // of editors on Windows
	d := &decoder{document: &Document{file: file, data: data}, root: reflect.ValueOf(into).Elem(), sizes: make(map[string]int)}
	// This checks the syntax, and that no key or table is defined twice.
	var invalid *toml.DecodeError
	if err := toml.Unmarshal(data, &struct{}{}); errors.As(err, &invalid) {
		d.errors.Syntax = true
		row, column := invalid.Position()
		d.fail(d.document.offsetOf(row, column), "", errors.New(strings.TrimPrefix(invalid.Error(), "toml: ")))
	} else if err != nil {
		d.errors.Syntax = true
		d.errors.Add(&Error{File: file, Err: err})
	} else {
		d.run()
	}
	return d.document, d.errors.Sorted()
}

// decoder is one call of Decode.
type decoder struct {
	document *Document
	parser   unstable.Parser
	root     reflect.Value
	errors   Errors
	sizes    map[string]int // elements of arrays of tables, by path
}

// fail adds an error at an offset of the document.
func (d *decoder) fail(offset int, path string, err error) {
	if d.errors.Full() {
		d.errors.More++ // its position would take time
		return
	}
	d.errors.Add(d.document.at(offset, path, err))
}

// table is where keys belong: a struct and its path. An invalid struct means that the
// table is unknown, which was reported.
type table struct {
	target reflect.Value
	path   string
}

func (t table) join(key string) string {
	if t.path == "" {
		return key
	}
	return t.path + "." + key
}

// run decodes a document whose syntax is valid.
func (d *decoder) run() {
	d.parser.Reset(d.document.data)
	current := table{target: d.root}
	for d.parser.NextExpression() {
		switch node := d.parser.Expression(); node.Kind {
		case unstable.Table, unstable.ArrayTable:
			current = d.header(node)
		case unstable.KeyValue:
			d.keyValue(current, node)
		}
	}
	d.clip()
	if err := d.parser.Error(); err != nil { // the syntax was checked
		d.errors.Add(&Error{File: d.document.file, Err: err})
	}
}

// clip gives back what arrays of tables at the top have beyond their length.
func (d *decoder) clip() {
	for path := range d.sizes {
		f := lookup(d.root.Type(), path)
		if f == nil {
			continue // an array in a table
		}
		array := d.root.FieldByIndex(f.index)
		if array.Len() == array.Cap() {
			continue
		}
		exact := reflect.MakeSlice(array.Type(), array.Len(), array.Len())
		reflect.Copy(exact, array)
		array.Set(exact)
	}
}

// header returns the table that a header begins.
func (d *decoder) header(node *unstable.Node) table {
	current := table{target: d.root}
	keys := node.Key()
	for keys.Next() {
		last := keys.IsLast() && node.Kind == unstable.ArrayTable
		if current = d.enter(current, keys.Node(), last); !current.target.IsValid() {
			break
		}
	}
	return current
}

// enter returns the table that a part of a key names in t. If appends is true, the part
// names an array of tables, and the table is a new one. Otherwise, if it names such an
// array, the table is the last one.
func (d *decoder) enter(t table, part *unstable.Node, appends bool) table {
	name, offset := string(part.Data), int(part.Raw.Offset)
	path := t.join(name)
	f := lookup(t.target.Type(), name)
	if f == nil {
		d.fail(offset, "", d.unknownKey(t, name))
		return table{}
	}
	d.document.note(path)
	target := t.target.FieldByIndex(f.index)
	isArray := target.Kind() == reflect.Slice
	switch {
	case tableType(target.Type()) == nil:
		d.fail(offset, path, errors.New("this is a value and no table: want "+wanted(target.Type())))
		return table{}
	case appends && !isArray:
		d.fail(offset, path, fmt.Errorf("this is one table: write [%s]", path))
		return table{}
	case appends:
		return d.element(target, path)
	case isArray && d.sizes[path] == 0:
		d.fail(offset, path, fmt.Errorf("there are several of these tables: write [[%s]]", path))
		return table{}
	case isArray:
		last := target.Len() - 1
		return table{target.Index(last), indexed(path, last)}
	}
	return table{target, path}
}

// element appends an element to an array of tables.
func (d *decoder) element(array reflect.Value, path string) table {
	if d.sizes[path] == 0 { // what is there is a default
		tables := bytes.Count(d.document.data, []byte("[["+path+"]]")) // there may be a hundred thousand
		array.Set(reflect.MakeSlice(array.Type(), 0, tables))
	}
	d.sizes[path]++
	n := array.Len()
	array.Set(reflect.Append(array, reflect.Zero(array.Type().Elem())))
	target := array.Index(n)
	if defaulter, ok := target.Addr().Interface().(Defaulter); ok {
		defaulter.SetDefaults()
	}
	return table{target, indexed(path, n)}
}

func indexed(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// keyValue decodes KEY = VALUE in t.
func (d *decoder) keyValue(t table, node *unstable.Node) {
	if !t.target.IsValid() {
		return
	}
	keys := node.Key()
	for keys.Next() {
		part := keys.Node()
		if !keys.IsLast() {
			if t = d.enter(t, part, false); !t.target.IsValid() {
				return
			}
			continue
		}
		f := lookup(t.target.Type(), string(part.Data))
		if f == nil {
			d.fail(int(part.Raw.Offset), "", d.unknownKey(t, string(part.Data)))
			return
		}
		path := t.join(f.name)
		d.document.note(path)
		d.value(t.target.FieldByIndex(f.index), path, node.Value(), int(part.Raw.Offset))
	}
}

// maxQuotedKey limits the unknown keys that an error quotes, in bytes. A longer one may
// be a secret.
const maxQuotedKey = 28

// unknownKey returns the error for a key that t does not have.
func (d *decoder) unknownKey(t table, name string) error {
	text := "unknown key"
	if len(name) <= maxQuotedKey {
		text += fmt.Sprintf(" %q", name)
	}
	if t.path != "" {
		text += " in " + fieldName(t.path)
	}
	near := Nearest(strings.ToLower(name), names(t.target.Type()))
	for _, f := range fieldsOf(t.target.Type()) {
		if f.flag != "" && f.flag == name {
			near = f.name
		}
	}
	if near != "" {
		return fmt.Errorf("%s: did you mean %s?", text, near)
	}
	if t.path != "" && lookup(d.root.Type(), name) != nil {
		return fmt.Errorf("%s: %s belongs above the first table", text, name)
	}
	return fmt.Errorf("%s: docs/config.md lists the keys", text)
}
