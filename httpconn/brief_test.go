package httpconn

import (
	"io"
	"net"
	"strings"
	"testing"
)

// No error is longer than a few lines, whatever the peer has sent.
func TestErrorsQuoteLittle(t *testing.T) {
	long := strings.Repeat("x", 6000)
	for _, request := range []string{
		"POST /" + long + " HTTP/1.1\r\n\r\n",
		"POST /api" + long + "\r\n\r\n",
		long + " /api HTTP/1.1\r\n\r\n",
		"POST /api HTTP/1.1\r\nExpect: " + long + "\r\nContent-Length: 8\r\n\r\n",
		"POST /api HTTP/1.1\r\nContent-Length: " + long + "\r\n\r\n",
	} {
		ours, theirs := net.Pipe()
		go io.WriteString(theirs, request)
		go io.Copy(io.Discard, theirs)
		s := NewServer(ours, nil)
		if _, err := s.Receive(t.Context()); err == nil || len(err.Error()) > 1000 {
			t.Errorf("%.300v", err)
		}
		theirs.Close()
		s.Close()
	}
	for _, response := range []string{
		"HTTP/1.1 " + long + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: " + long + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n0\r\n" + long[:2000] + "\r\n\r\n",
	} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan bool)
		go func() {
			defer close(served)
			if conn, err := ln.Accept(); err == nil {
				defer conn.Close()
				conn.Read(make([]byte, 4096))
				io.WriteString(conn, response)
			}
		}()
		c, err := NewClient("http://"+ln.Addr().String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Exchange(t.Context(), make([]byte, 64)); err == nil || len(err.Error()) > 1000 {
			t.Errorf("%.300v", err)
		}
		c.Close()
		ln.Close()
		<-served
	}
}
