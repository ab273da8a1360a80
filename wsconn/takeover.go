//go:build !js

package wsconn

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
)

// Buffer sizes of a server's connection, which keeps its buffers while it is idle.
// The reader's holds a frame header and a usual client packet; longer reads bypass
// it. The writer's holds any control frame; stream gathers messages.
const (
	readBuffer  = 1 << 10
	writeBuffer = 128
)

// takeover is the ResponseWriter for the library's upgrade. Its Hijack returns a
// stream, with smaller buffers than those of an http.Server.
type takeover struct {
	http.ResponseWriter
	status int
	stream *stream
}

// WriteHeader stores the status for the HandshakeError.
func (t *takeover) WriteHeader(status int) {
	t.status = status
	t.ResponseWriter.WriteHeader(status)
}

// Hijack keeps the bytes that were received after the request, and replaces the
// large buffers of an http.Server.
func (t *takeover) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, brw, err := http.NewResponseController(t.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	t.stream = &stream{Conn: netx.WithDeadlines(conn)}
	if n := brw.Reader.Buffered(); n > 0 {
		b, _ := brw.Reader.Peek(n)
		t.stream.leftover = bytes.Clone(b)
	}
	return t.stream, bufio.NewReadWriter(
		bufio.NewReaderSize(t.stream, readBuffer), bufio.NewWriterSize(t.stream, writeBuffer)), nil
}

// responseWriter is an http.ResponseWriter and http.Hijacker for an upgrade on a
// bare connection.
type responseWriter struct {
	conn   net.Conn
	br     *bufio.Reader
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *responseWriter) Header() http.Header { return w.header }

func (w *responseWriter) WriteHeader(status int) { w.status = status }

func (w *responseWriter) Write(p []byte) (int, error) { return w.body.Write(p) }

// Hijack sends the head of the response and returns the connection.
func (w *responseWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if err := w.writeHead(); err != nil {
		return nil, nil, err
	}
	return w.conn, bufio.NewReadWriter(w.br, nil), nil
}

// finish sends a response that is not an upgrade.
func (w *responseWriter) finish() error {
	w.header.Set("Content-Length", strconv.Itoa(w.body.Len()))
	if w.header.Get("Connection") == "" {
		w.header.Set("Connection", "close")
	}
	// A client that does not read even a short response must not block the server.
	_ = w.conn.SetWriteDeadline(time.Now().Add(time.Second))
	return w.writeHead()
}

func (w *responseWriter) writeHead() error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", w.status, http.StatusText(w.status))
	if err := w.header.Write(&b); err != nil {
		return err
	}
	b.WriteString("\r\n")
	b.Write(w.body.Bytes())
	_, err := w.conn.Write(b.Bytes())
	return err
}
