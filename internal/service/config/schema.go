package config

import (
	"encoding"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// field is a key of a struct.
type field struct {
	name  string
	index []int
	flag  string // a flag that sets it and has another name, "" for none
}

// schemas has the fields of struct types: map[reflect.Type][]field.
var schemas sync.Map

// fieldsOf returns the fields of a struct type that have a key, in their order. Those
// of an embedded struct are the struct's own.
func fieldsOf(t reflect.Type) []field {
	if known, ok := schemas.Load(t); ok {
		return known.([]field)
	}
	var fields []field
	for _, f := range reflect.VisibleFields(t) {
		if name := f.Tag.Get("toml"); name != "" {
			fields = append(fields, field{name, f.Index, f.Tag.Get("flag")})
		}
	}
	schemas.Store(t, fields)
	return fields
}

// lookup returns the field of a key, nil if there is none.
func lookup(t reflect.Type, name string) *field {
	fields := fieldsOf(t)
	i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
	if i < 0 {
		return nil
	}
	return &fields[i]
}

func names(t reflect.Type) (all []string) {
	for _, f := range fieldsOf(t) {
		all = append(all, f.name)
	}
	return all
}

// Keys returns all keys of schema, a struct, in their order: those of a table have its
// name in front, as in "user.name".
func Keys(schema any) []string { return keysOf(reflect.TypeOf(schema), "") }

func keysOf(t reflect.Type, prefix string) (keys []string) {
	for _, f := range fieldsOf(t) {
		keys = append(keys, prefix+f.name)
		if table := tableType(t.FieldByIndex(f.index).Type); table != nil {
			keys = append(keys, keysOf(table, prefix+f.name+".")...)
		}
	}
	return keys
}

var textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()

// Different returns the keys of the top whose values differ between two structs of the
// same type, in their order.
func Different(a, b any) (keys []string) {
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	for _, f := range fieldsOf(x.Type()) {
		if !reflect.DeepEqual(x.FieldByIndex(f.index).Interface(), y.FieldByIndex(f.index).Interface()) {
			keys = append(keys, f.name)
		}
	}
	return keys
}

// tableType returns the struct of a table or of an array of tables, nil if t is a type
// of values.
func tableType(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || reflect.PointerTo(t).Implements(textUnmarshaler) {
		return nil
	}
	return t
}

// fieldName returns the last part of a path, without an index.
func fieldName(path string) string {
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		path = path[i+1:]
	}
	name, _, _ := strings.Cut(path, "[")
	return name
}
