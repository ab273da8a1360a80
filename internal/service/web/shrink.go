package web

import (
	"bytes"
	"crypto/tls"
	"reflect"
	"unsafe"
)

// dropHandshake frees what a connection's buffers have held of the handshake: package tls
// keeps them, 4 to 5 KiB with the hello of a browser, as long as the connection. It must be
// called before the connection is used. If a later version of the package has other
// fields, nothing happens, and the test of the memory of idle sessions fails.
func dropHandshake(conn *tls.Conn) {
	for _, name := range []string{"rawInput", "hand"} {
		field := reflect.ValueOf(conn).Elem().FieldByName(name)
		if field.IsValid() && field.Type() == reflect.TypeFor[bytes.Buffer]() {
			b := (*bytes.Buffer)(unsafe.Pointer(field.UnsafeAddr()))
			*b = *bytes.NewBuffer(bytes.Clone(b.Bytes())) // what was read ahead stays
		}
	}
}
