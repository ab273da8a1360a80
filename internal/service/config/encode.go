package config

import (
	"bufio"
	"encoding"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Encode writes a struct as a TOML document, for people, which decodes to the same values
// but for those that are comments. Credentials are not in it: a placeholder stands for a
// secret, which has its mode and decodes to ErrPlaceholder, and an upstream with a
// password or a secret is a comment with its address. A text, a list or a
// table without a value is a comment, and so is the zero value of a field with the tag
// derived, whose text tells what the value in force is derived from. note returns a
// comment for a key of the top, or "".
//
// Of tables, only keys that have another value than their default are
// written.
func Encode(w io.Writer, v any, note func(key string) string) error {
	out := bufio.NewWriter(w)
	value := reflect.ValueOf(v)
	var tables []field
	for _, f := range fieldsOf(value.Type()) {
		target := value.FieldByIndex(f.index)
		if tableType(target.Type()) != nil {
			tables = append(tables, f)
			continue
		}
		if derived := value.Type().FieldByIndex(f.index).Tag.Get("derived"); derived != "" && target.IsZero() {
			fmt.Fprintf(out, "# %s is not set: %s\n", f.name, derived)
			continue
		}
		if isUnset(target) {
			fmt.Fprintf(out, "# %s is not set\n", f.name)
			continue
		}
		comment := note(f.name)
		if comment != "" {
			comment = " # " + comment
		}
		encodeValue(out, f.name, target, comment)
	}
	for _, f := range tables {
		target := value.FieldByIndex(f.index)
		if target.Kind() == reflect.Struct {
			fmt.Fprintf(out, "\n[%s]\n", f.name)
			encodeTable(out, target)
			continue
		}
		for i := range target.Len() {
			fmt.Fprintf(out, "\n[[%s]]\n", f.name)
			encodeTable(out, target.Index(i))
		}
	}
	return out.Flush()
}

func encodeTable(out io.Writer, table reflect.Value) {
	usual := reflect.New(table.Type())
	if defaulter, ok := usual.Interface().(Defaulter); ok {
		defaulter.SetDefaults()
	}
	for _, f := range fieldsOf(table.Type()) {
		value := table.FieldByIndex(f.index)
		if !reflect.DeepEqual(value.Interface(), usual.Elem().FieldByIndex(f.index).Interface()) {
			encodeValue(out, f.name, value, "")
		}
	}
}

// encodeValue writes a key with its value, as a comment if credentials are missing in it
// and no placeholder tells so.
func encodeValue(out io.Writer, name string, value reflect.Value, comment string) {
	text, redacted := literal(value), ""
	if hasCredentials(value) && !strings.Contains(text, placeholder) {
		redacted = "# without credentials: "
	}
	fmt.Fprintf(out, "%s%s = %s%s\n", redacted, name, text, comment)
}

// hasCredentials reports whether a value, or one of a list, has credentials, which its
// text leaves out.
func hasCredentials(value reflect.Value) bool {
	if v, ok := value.Interface().(interface{ HasCredentials() bool }); ok {
		return v.HasCredentials()
	}
	if value.Kind() == reflect.Slice {
		for i := range value.Len() {
			if hasCredentials(value.Index(i)) {
				return true
			}
		}
	}
	return false
}

// isUnset reports whether a document cannot have the value.
func isUnset(value reflect.Value) bool {
	switch value.Kind() {
	case reflect.String, reflect.Slice:
		return value.Len() == 0
	case reflect.Struct:
		return value.IsZero()
	}
	return false
}

// literal returns a value as it is in a document.
func literal(value reflect.Value) string {
	switch v := value.Interface().(type) {
	case time.Duration:
		return Quote(durationText(v))
	case encoding.TextMarshaler:
		text, err := v.MarshalText()
		if err != nil {
			return Quote("")
		}
		return Quote(string(text))
	}
	switch value.Kind() {
	case reflect.Slice:
		var elements []string
		for i := range value.Len() {
			elements = append(elements, literal(value.Index(i)))
		}
		return "[" + strings.Join(elements, ", ") + "]"
	case reflect.Bool:
		return strconv.FormatBool(value.Bool())
	case reflect.Float64, reflect.Float32:
		text := strconv.FormatFloat(value.Float(), 'f', -1, 64)
		if !strings.Contains(text, ".") {
			text += ".0"
		}
		return text
	case reflect.String:
		return Quote(value.String())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.FormatInt(value.Int(), 10)
	}
	return Quote(fmt.Sprint(value.Interface()))
}

// durationText returns a duration without zeros at its end.
func durationText(d time.Duration) string {
	text := d.String()
	for _, zeros := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zeros) {
			text = text[:len(text)-2]
		}
	}
	return text
}

// Quote returns a text as a string of TOML.
func Quote(text string) string {
	var out strings.Builder
	out.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			out.WriteByte('\\')
			out.WriteRune(r)
		case r == '\n':
			out.WriteString(`\n`)
		case r == '\t':
			out.WriteString(`\t`)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&out, `\u%04X`, r)
		default: // also the replacement of bytes that are no UTF-8
			out.WriteRune(r)
		}
	}
	out.WriteByte('"')
	return out.String()
}
