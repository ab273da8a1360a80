package httpconn

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// A response that announces the longest body there is fails its POST, and nothing else.
func TestTheLongestLengthOfAResponse(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		conn, err := ln.Accept()
		if err == nil {
			conn.Read(make([]byte, 4096))
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\nshort")
			conn.Close()
		}
		served <- err
	}()
	defer func() { ln.Close(); <-served }()
	c, err := NewClient("http://"+ln.Addr().String(), &ClientConfig{ResponseTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Send(t.Context(), make([]byte, 64)); err != nil {
		t.Fatal(err)
	}
	var failed *PostError
	if _, err := c.Receive(t.Context()); !errors.As(err, &failed) || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}
