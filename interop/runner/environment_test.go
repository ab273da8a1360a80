package main

import (
	"strings"
	"testing"

	"github.com/mtwire/mtwire/interop/process"
)

func TestClientsGetTheURLOfTheirEndpoint(t *testing.T) {
	for _, c := range []struct{ scheme, secret, want string }{
		{"tcp", "none", "tcp://127.0.0.1:1000"},
		{"ws", "none", "ws://127.0.0.1:1000/apiws"},
		{"wss", "none", "wss://127.0.0.1:1000/apiws"},
		{"http", "none", "http://127.0.0.1:1000/api"},
		{"https", "none", "https://127.0.0.1:1000/api"},
		{"tcp", "plain", "tg://proxy?server=127.0.0.1&port=1000&secret=" + secrets["plain"]},
	} {
		if got := endpointURL(testCase{Scheme: c.scheme, Secret: c.secret}, 1000); got != c.want {
			t.Errorf("with %s and %s: %s, want %s", c.scheme, c.secret, got, c.want)
		}
	}
}

// Each property that a case expects is compared with the first connection on
// which the data centre answered.
func TestExpectationsAreComparedWithTheAnsweredConnection(t *testing.T) {
	report := `{"event":"connected","remote":"1:1","transport":"tcp, full"}
{"event":"connected","remote":"1:2","transport":"tcp, obfuscated, abridged","tag":"efefefef","dc":2}
{"event":"request","remote":"1:1","request":"encrypted message","answer":"-404"}
{"event":"request","remote":"1:2","request":"req_pq","answer":"resPQ"}
`
	other, tag, dc, media := "eeeeeeee", "efefefef", 2, -2
	for _, c := range []struct {
		want  expect
		wrong string
	}{
		{expect{}, ""},
		{expect{Tag: &tag, DC: &dc, Transport: "tcp, obfuscated, abridged", Request: "req_pq"}, ""},
		{expect{Tag: &other}, "tag"},
		{expect{DC: &media}, "DC -2"},
		{expect{Transport: "tcp, full"}, "transport"},
		{expect{Request: "req_pq_multi"}, "request"},
		{expect{Hello: 517}, "hello"},
	} {
		e := &environment{dc: &process.Server{}}
		e.dc.Stdout.Write([]byte(report))
		var r row
		err := e.check(testCase{Expect: c.want}, &r)
		if c.wrong == "" && err != nil || c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
			t.Errorf("%+v: %v", c.want, err)
		}
		if r.Tag != tag || *r.DC != dc || r.Request != "req_pq" {
			t.Errorf("the row is %+v", r)
		}
	}
	e := &environment{dc: &process.Server{}}
	if err := e.check(testCase{}, &row{}); err == nil {
		t.Error("a case passed without an answer")
	}
}
