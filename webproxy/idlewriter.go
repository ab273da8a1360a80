package webproxy

import (
	"bufio"
	"net/http"
	"reflect"
	"sync"
	"unsafe"
)

// writerBuffers are buffers of ResponseWriters whose long polls wait.
var writerBuffers = sync.Pool{New: func() any { return new([writerBuffer]byte) }}

// writerBuffer is the length of the buffer of a ResponseWriter of HTTP/2 in package http.
const writerBuffer = 4 << 10

// lendBuffer takes the buffer of a ResponseWriter of HTTP/2 in package http, which has it from
// the beginning of its request, and which is a quarter of what a long poll takes. Nothing may
// be written before returnBuffer is called with the result, which is nil if nothing was taken.
// If a later version of the package has other fields nothing is, and the tests of the memory
// of idle sessions fail.
func lendBuffer(w http.ResponseWriter) *[]byte {
	buf := bufferOf(w)
	if buf != nil {
		writerBuffers.Put((*[writerBuffer]byte)(*buf))
		*buf = nil
	}
	return buf
}

// returnBuffer gives the ResponseWriter that has lent a buffer another one.
func returnBuffer(buf *[]byte) {
	if buf != nil {
		*buf = writerBuffers.Get().(*[writerBuffer]byte)[:]
	}
}

// bufferOf returns where a ResponseWriter has its buffer, if that is empty.
func bufferOf(w http.ResponseWriter) *[]byte {
	v := reflect.ValueOf(w)
	for _, name := range []string{"rws", "bw"} {
		if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
			return nil
		}
		v = v.Elem().FieldByName(name)
	}
	if !v.IsValid() || v.Type() != reflect.TypeFor[*bufio.Writer]() || v.IsNil() {
		return nil
	}
	writer := (*bufio.Writer)(v.UnsafePointer())
	field := v.Elem().FieldByName("buf")
	if !field.IsValid() || field.Type() != reflect.TypeFor[[]byte]() || writer.Size() != writerBuffer || writer.Buffered() > 0 {
		return nil
	}
	return (*[]byte)(unsafe.Pointer(field.UnsafeAddr()))
}
