package netx

import (
	"errors"
	"strings"
	"testing"
)

// The result does not depend on the pieces in which a head arrives. Bytes ahead of
// a bad line, and those behind the head, are passed on.
func TestRequestHeadIsCheckedInAnyPieces(t *testing.T) {
	const good = "POST /api HTTP/1.1\r\nHost: dc.example:443\r\nX-Folded-Not: a  b\tc \r\n"
	for _, test := range []struct{ head, passed string }{
		{good + "\r\n", ""},
		{good + "content-length: 3\r\n\r\n\n\r \n", ""}, // a body of any bytes
		{"\r\n\r\n", ""},
		{good + "A: b\nC: d\r\n\r\n", good},
		{good + "\n", good},
		{good + "A: b\r\r\n\r\n", good},
		{good + "A: b\rC: d\r\n\r\n", good},
		{good + " b\r\n\r\n", good},
		{good + "\tb\r\n\r\n", good},
		{good + "A : b\r\n\r\n", good},
		{good + "A\t: b\r\n\r\n", good},
		{good + "A b\r\n\r\n", good},
		{good + "CONTENT-LENGTH: 3\r\ntransfer-encoding: chunked\r\n\r\n", good + "CONTENT-LENGTH: 3\r\n"},
		{good + "Transfer-Encoding: x\r\nContent-Length: y\r\n\r\n", good + "Transfer-Encoding: x\r\n"},
		{good + "Host: a b\r\n\r\n", good},
		{good + "Host: a/b\r\n\r\n", good},
		{good + "Host: \xff\r\n\r\n", good},
		{"GET / HTTP/1.1\n\n", ""},
	} {
		want := test.passed
		refused := want != "" || strings.HasPrefix(test.head, "GET")
		if !refused {
			want = test.head
		}
		for _, piece := range []int{1, 2, 3, 7, len(test.head)} {
			var h RequestHead
			passed := ""
			var err error
			for rest := test.head; rest != "" && err == nil; {
				b := rest[:min(piece, len(rest))]
				rest = rest[len(b):]
				var n int
				n, err = h.Check([]byte(b))
				passed += b[:n]
			}
			if refused != errors.Is(err, ErrRequestHead) {
				t.Errorf("%q in pieces of %d: %v", test.head, piece, err)
			}
			// The pieces of a bad line that came before its end have been passed.
			if !strings.HasPrefix(test.head, passed) || !strings.HasPrefix(passed, want) || piece == len(test.head) && passed != want {
				t.Errorf("%q in pieces of %d: %q is passed on, want %q", test.head, piece, passed, want)
			}
		}
	}
}

func TestRequestHeadOfOnePieceAllocatesNothing(t *testing.T) {
	b := []byte("POST /api HTTP/1.1\r\nHost: dc.example\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 12\r\n\r\nHello MTProt")
	if n := testing.AllocsPerRun(100, func() {
		var h RequestHead
		if n, err := h.Check(b); n != len(b) || err != nil {
			t.Fatal(n, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
