package h2

import (
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// Requests on one connection get their own answers, also if these are longer than the
// default window.
func TestRequestsOnOneConnectionAreAnswered(t *testing.T) {
	large := bytes.Repeat([]byte("0123456789abcdef"), 20000)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Host != "a.example" || r.ProtoMajor != 2:
			w.WriteHeader(http.StatusBadRequest)
		case r.URL.Path == "/large":
			w.Write(large)
		case r.URL.Path == "/nothing":
			w.WriteHeader(http.StatusNotFound)
		default:
			io.WriteString(w, r.URL.Path)
		}
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	conn, err := tls.Dial("tcp", server.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := New(conn, "a.example")
	for i, c := range []struct{ path, status, body string }{
		{"/small", "200", "/small"}, {"/large", "200", string(large)}, {"/nothing", "404", ""}, {"/", "200", "/"},
	} {
		a, err := client.Get(c.path)
		if err != nil {
			t.Fatalf("%s: %v", c.path, err)
		}
		if a.Fields[0].Name != ":status" || a.Fields[0].Value != c.status || string(a.Body) != c.body {
			t.Errorf("%s: %v, %d bytes", c.path, a.Fields, len(a.Body))
		}
		if (len(a.Settings) > 0) != (i == 0) {
			t.Errorf("%s: settings %v", c.path, a.Settings)
		}
	}
}

func TestEndOfTheConnectionIsAnError(t *testing.T) {
	var b bytes.Buffer
	if _, err := New(&b, "a.example").Get("/"); err == nil {
		t.Error("the client's own frames are an answer")
	}
}
