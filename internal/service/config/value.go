package config

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Literal is implemented by types whose UnmarshalText also parses literals of TOML:
// numbers, dates and times.
type Literal interface {
	encoding.TextUnmarshaler
	// Literals returns what they are called, such as "an integer".
	Literals() string
}

var duration = reflect.TypeFor[time.Duration]()

// value decodes a value into target. key is the offset of the key, for values that have
// no offset of their own.
func (d *decoder) value(target reflect.Value, path string, node *unstable.Node, key int) {
	offset := key
	if node.Raw.Length > 0 {
		offset = int(node.Raw.Offset)
	}
	switch {
	case target.Kind() == reflect.Slice && node.Kind == unstable.Array:
		d.array(target, path, node, offset)
		return
	case tableType(target.Type()) != nil && target.Kind() == reflect.Struct && node.Kind == unstable.InlineTable:
		d.inlineTable(table{target, path}, node)
		return
	}
	if err := setValue(target, node); err != nil {
		d.fail(offset, path, err)
	}
}

// array decodes an array into a slice, in place of what is there.
func (d *decoder) array(target reflect.Value, path string, node *unstable.Node, offset int) {
	target.SetZero()
	isTable := tableType(target.Type()) != nil
	children := node.Children()
	for children.Next() {
		child := children.Node()
		if isTable && child.Kind == unstable.InlineTable {
			d.inlineTable(d.element(target, path), child)
			continue
		}
		n := target.Len()
		target.Set(reflect.Append(target, reflect.Zero(target.Type().Elem())))
		d.value(target.Index(n), indexed(path, n), child, offset)
	}
}

// inlineTable decodes { KEY = VALUE, ... }.
func (d *decoder) inlineTable(t table, node *unstable.Node) {
	children := node.Children()
	for children.Next() {
		d.keyValue(t, children.Node())
	}
}

// setValue sets target to the value of a node that is neither an array nor a table, or
// returns an error.
func setValue(target reflect.Value, node *unstable.Node) error {
	if target.Type() == duration {
		return setDuration(target, node)
	}
	text := string(node.Data)
	if unmarshaler, ok := target.Addr().Interface().(encoding.TextUnmarshaler); ok {
		_, literal := unmarshaler.(Literal)
		if node.Kind != unstable.String && !(literal && isLiteral(node.Kind)) {
			return wrongType(target, node)
		}
		return unmarshaler.UnmarshalText(node.Data)
	}
	switch kind := target.Kind(); {
	case kind == reflect.String && node.Kind == unstable.String:
		target.SetString(text)
	case kind == reflect.Bool && node.Kind == unstable.Bool:
		target.SetBool(text == "true")
	case target.CanInt() && node.Kind == unstable.Integer:
		n, err := strconv.ParseInt(text, 0, 64)
		if err != nil || target.OverflowInt(n) {
			return fmt.Errorf("the number is out of range, want at most %d", uint64(1)<<(target.Type().Bits()-1)-1)
		}
		target.SetInt(n)
	case target.CanFloat() && (node.Kind == unstable.Float || node.Kind == unstable.Integer):
		n, err := strconv.ParseFloat(strings.ReplaceAll(text, "_", ""), 64)
		if err != nil {
			return errors.New("the number is out of range")
		}
		target.SetFloat(n)
	default:
		return wrongType(target, node)
	}
	return nil
}

func wrongType(target reflect.Value, node *unstable.Node) error {
	return fmt.Errorf("want %s, found %s", wanted(target.Type()), kindName(node.Kind))
}

func isNumber(kind reflect.Kind) bool {
	return reflect.Int <= kind && kind <= reflect.Float64
}

func isLiteral(kind unstable.Kind) bool {
	switch kind {
	case unstable.Integer, unstable.Float, unstable.LocalDate, unstable.LocalDateTime, unstable.DateTime:
		return true
	}
	return false
}

// ParseDuration parses a duration. A number without a unit is one of seconds.
func ParseDuration(text string) (time.Duration, error) {
	text = strings.ReplaceAll(text, " ", "")
	parsed, err := time.ParseDuration(text)
	if _, notNumber := strconv.ParseFloat(text, 64); err != nil && notNumber == nil {
		parsed, err = time.ParseDuration(text + "s")
	}
	if err != nil {
		return 0, fmt.Errorf("%q is no duration: want a number of seconds, or 500ms, 30s, 5m, 48h", text)
	}
	return parsed, nil
}

func setDuration(target reflect.Value, node *unstable.Node) error {
	text := string(node.Data)
	switch node.Kind {
	case unstable.Integer, unstable.Float:
		text = strings.ReplaceAll(text, "_", "")
	case unstable.String:
	default:
		return wrongType(target, node)
	}
	parsed, err := ParseDuration(text)
	if err == nil {
		target.SetInt(int64(parsed))
	}
	return err
}

// wanted returns what values of a type are called.
func wanted(t reflect.Type) string {
	if t == duration {
		return `a duration, such as "30s", or a number of seconds`
	}
	if t.Kind() == reflect.Slice {
		if tableType(t) != nil {
			return "an array of tables"
		}
		return "an array: [" + wanted(t.Elem()) + ", ...]"
	}
	if tableType(t) != nil {
		return "a table"
	}
	if literal, ok := reflect.New(t).Interface().(Literal); ok {
		return "a string or " + literal.Literals()
	}
	if reflect.PointerTo(t).Implements(textUnmarshaler) {
		return "a string"
	}
	switch kind := t.Kind(); {
	case kind == reflect.Bool:
		return "true or false"
	case reflect.Int <= kind && kind <= reflect.Uint64:
		return "an integer"
	case isNumber(kind):
		return "a number"
	}
	return "a string"
}

// kindName returns what a value of a document is called.
func kindName(kind unstable.Kind) string {
	switch kind {
	case unstable.String:
		return "a string"
	case unstable.Bool:
		return "a boolean"
	case unstable.Integer:
		return "an integer"
	case unstable.Float:
		return "a fraction"
	case unstable.Array:
		return "an array"
	case unstable.InlineTable:
		return "a table"
	}
	return "a date or time"
}
