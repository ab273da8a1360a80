package netx

import (
	"bytes"
	"crypto/tls"
	"reflect"
	"unsafe"
)

// ShrinkTLS frees the buffers of what a connection has read that are longer than least, in
// bytes, and what is left in them: package tls keeps them as long as the connection, 4 to 5 KiB
// with the hello of a browser, and 17 KiB or more with a long record. Nothing may read the
// connection meanwhile. If a later version of the package has other fields, nothing happens, and
// the test of the memory of idle sessions of the web site fails.
func ShrinkTLS(conn *tls.Conn, least int) {
	for _, name := range []string{"rawInput", "hand"} {
		if b := tlsField[bytes.Buffer](conn, name); b != nil && b.Cap() > least {
			*b = *bytes.NewBuffer(bytes.Clone(b.Bytes())) // what was read ahead stays
			if input := tlsField[bytes.Reader](conn, "input"); input != nil && input.Len() == 0 {
				input.Reset(nil) // it has been in rawInput
			}
		}
	}
}

// tlsField returns a field of a connection, or nil if there is no such field of type T.
func tlsField[T any](conn *tls.Conn, name string) *T {
	field := reflect.ValueOf(conn).Elem().FieldByName(name)
	if !field.IsValid() || field.Type() != reflect.TypeFor[T]() {
		return nil
	}
	return (*T)(unsafe.Pointer(field.UnsafeAddr()))
}
