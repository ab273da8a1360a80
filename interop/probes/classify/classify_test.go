package classify

import (
	"bytes"
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/interop/probes/probe"
	"github.com/mtwire/mtwire/interop/probes/tlswire"
)

// recording builds a Stream of records that arrive at given times.
type recording struct{ Stream }

func (r *recording) add(at time.Duration, kind byte, sizes ...int) {
	for _, size := range sizes {
		r.Bytes = tlswire.Append(r.Bytes, kind, 0x0303, make([]byte, size))
		r.Arrivals = append(r.Arrivals, Arrival{at, len(r.Bytes)})
	}
}

// Records are told apart by their times: those of the flight arrived before the
// client answered it.
func TestShapeIsReadFromRecordsAndTimes(t *testing.T) {
	var up, down recording
	up.add(0, tlswire.TypeHandshake, 512)
	down.add(1, tlswire.TypeHandshake, 122)
	down.add(1, tlswire.TypeCCS, 1)
	down.add(1, tlswire.TypeData, 36, 1000)
	up.add(2, tlswire.TypeCCS, 1)
	up.add(2, tlswire.TypeData, 53, 4)
	down.add(3, tlswire.TypeData, 282, 282, 4)
	down.add(10, tlswire.TypeData, 1200, 16401, 16401)
	down.add(11, tlswire.TypeAlert, 26)
	down.add(20, tlswire.TypeData, 19)
	down.End, down.EndAt = "fin", 21
	s := newShape(Capture{Up: up.Stream, Down: down.Stream}, phases{bulk: 5, idle: 15, close: 30, keepAlives: 1})
	if !slices.Equal(s.After, []int{282, 282, 4}) || !slices.Equal(s.Bulk, []int{1200, 16401, 16401, 26}) {
		t.Errorf("records %v and %v", s.After, s.Bulk)
	}
	if s.Short != 1 || s.ShortUp != 1 || s.NotData != 1 || s.KeepAlives != 1 {
		t.Errorf("%+v", s)
	}
	if s.Idle != "record of 19, fin" || s.Close != "closed before" {
		t.Errorf("idle %q, close %q", s.Idle, s.Close)
	}
	down.EndAt = 31
	s = newShape(Capture{Up: up.Stream, Down: down.Stream}, phases{bulk: 5, idle: 15, close: 30})
	if s.Idle != "record of 19, open" || s.Close != "fin" {
		t.Errorf("idle %q, close %q", s.Idle, s.Close)
	}
	if s = newShape(Capture{}, phases{}); s.Idle != "open" || len(s.After) != 0 {
		t.Errorf("of nothing: %+v", s)
	}
}

func TestUsualLengthRampAndHistogram(t *testing.T) {
	for _, c := range []struct {
		lengths         []int
		length, n, ramp int
	}{
		{nil, 0, 0, 0},
		{[]int{8209, 8017, 8017}, 8017, 2, 1},
		{[]int{1203, 2389, 16401, 16401, 37}, 16401, 2, 2},
		{[]int{1, 2}, 2, 1, 1},
	} {
		if length, n := usual(c.lengths); length != c.length || n != c.n || len(ramp(c.lengths)) != c.ramp {
			t.Errorf("%v: %d, %d times, after %v", c.lengths, length, n, ramp(c.lengths))
		}
	}
	if got := histogram([]int{4, 16, 17, 127, 16379, 16385, 16401, 17000}); got != "<17: 2, <128: 2, <16385: 1, <16640: 2, more: 1" {
		t.Errorf("histogram %s", got)
	}
	if got := histogram(nil); got != "none" {
		t.Errorf("histogram of nothing: %s", got)
	}
}

// A proxy's session may be like that of either protocol of the site.
func TestSessionsAreComparedByRow(t *testing.T) {
	h1 := Shape{Bulk: []int{16401, 16401}, Idle: "fin", Close: "fin"}
	h2 := Shape{Bulk: []int{8209, 8209}, Idle: "record of 34, fin", Close: "fin", Short: 1}
	tickets := []int{282, 282}
	verdicts := func(proxy Shape) map[string]bool {
		different := make(map[string]bool)
		for _, row := range compareSessions(h1, h2, proxy, tickets) {
			if !row.Same && !row.Note {
				different[row.Name] = true
			}
		}
		return different
	}
	if d := verdicts(Shape{After: []int{282, 282, 100}, Bulk: []int{8209, 8209}, Idle: "fin"}); len(d) != 0 {
		t.Errorf("a session like the site's: %v", d)
	}
	proxy := Shape{After: []int{282}, Bulk: []int{1, 2, 3, 16379, 16379}, Idle: "open", Short: 1, NotData: 1, KeepAlives: 2}
	for _, name := range []string{"tickets", "record-size", "record-ramp", "records-under-17", "records-of-other-types", "idle", "idle-keep-alives"} {
		if d := verdicts(proxy); !d[name] {
			t.Errorf("%s does not differ: %v", name, d)
		}
	}
	if row := compareCloses(h1, h2, Shape{Close: "record of 19, fin"}); row.Same {
		t.Errorf("%+v", row)
	}
}

// The proxy's answers must be among the site's, and as fast.
func TestFlightsAreCompared(t *testing.T) {
	property := func(f flight) string { return f.ja4s }
	a, b := []flight{{ja4s: "a"}, {ja4s: "b"}}, []flight{{ja4s: "b"}}
	if row := distinct("x", a, b, property); !row.Same || row.Site[0] != "a or b" {
		t.Errorf("%+v", row)
	}
	if row := distinct("x", b, a, property); row.Same {
		t.Errorf("%+v", row)
	}
	fast, slow, close := []flight{{delay: time.Millisecond}, {delay: 2 * time.Millisecond}}, []flight{{delay: 5 * time.Millisecond}}, []flight{{delay: 3 * time.Millisecond}}
	if delays(fast, slow).Same || delays(slow, fast).Same || !delays(fast, close).Same || !delays(fast, fast).Same {
		t.Error("delays are compared wrongly")
	}
}

// Every kind of hello can be signed, and differs from Chrome's as its name says.
func TestHellosCanBeSigned(t *testing.T) {
	for _, k := range helloKinds {
		sent, err := k.hello()
		if err != nil {
			t.Fatalf("%s: %v", k.name, err)
		}
		sent, err = faketls.AppendClientHello(nil, &faketls.ClientConfig{Domain: "a.example", Hello: func(string) ([]byte, error) { return sent, nil }})
		if err != nil {
			t.Fatalf("%s: %v", k.name, err)
		}
		hello, _, err := faketls.ParseClientHello(sent)
		if err != nil || (hello.CipherSuite == 0x1302) != (k.name == "1302-first") {
			t.Errorf("%s: %+v, %v", k.name, hello, err)
		}
		// Chrome's protocols are in ALPN and, with h2 alone, in application settings.
		alpn := bytes.Contains(sent, []byte("\x02h2\x08http/1.1"))
		if alpn != (k.name != "http1-only" && k.name != "without-alpn") {
			t.Errorf("%s: h2 in ALPN: %v", k.name, alpn)
		}
	}
}

// A relay passes bytes and ends on, and records both with their times.
func TestRelayRecordsBothDirections(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		io.Copy(io.Discard, conn)
		io.WriteString(conn, "answer")
	}()
	r, err := startRelay(context.Background(), ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", r.address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "question")
	conn.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(conn); string(got) != "answer" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	c := r.stop()
	if string(c.Up.Bytes) != "question" || string(c.Down.Bytes) != "answer" || c.Up.End != "fin" || c.Down.End != "fin" || c.Down.when(6) < c.Up.when(1) {
		t.Errorf("%+v", c)
	}
}

// Rows with a verdict are results, and the table has all rows.
func TestRowsAreResultsAndATable(t *testing.T) {
	rows := []Row{
		{Name: "a", Site: []string{"1", "2"}, Proxy: "3"},
		{Name: "b", Site: []string{"1"}, Proxy: "1", Same: true},
		{Name: "c", Site: []string{"1"}, Proxy: "2", Note: true},
	}
	known, err := probe.ParseKnown(strings.NewReader("* ee shape/a shape # reason"))
	if err != nil {
		t.Fatal(err)
	}
	if n := probe.Count(Results("nginx", rows, known)); n != (probe.Counts{Same: 1, Known: 1}) {
		t.Errorf("%v", n)
	}
	if n := probe.Count(Results("nginx", rows, nil)); n != (probe.Counts{Same: 1, Unknown: 1}) {
		t.Errorf("%v", n)
	}
	var b bytes.Buffer
	if err := PrintTable(&b, "nginx", rows); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"a      1     3      DISTINGUISHABLE", "       2 ", "b      1     1      same", "c      1     2      -"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, &b)
		}
	}
}
