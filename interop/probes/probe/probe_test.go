package probe

import (
	"bytes"
	"io"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/interop/probes/site"
	"github.com/mtwire/mtwire/interop/probes/tlswire"
)

// Names are unique and have a topic. Each probe has a script or a dialogue, and a
// script is the same for the site and for the proxy, but for signatures and what
// was recorded.
func TestProbesAreAsDocumented(t *testing.T) {
	names := map[string]bool{}
	form := regexp.MustCompile(`^[a-z-]+/[a-z0-9.-]+$`)
	for _, p := range All() {
		if names[p.Name] || !form.MatchString(p.Name) {
			t.Errorf("name %q is not unique, or not topic/detail", p.Name)
		}
		names[p.Name] = true
		if (p.Steps == nil) == (p.Converse == nil) {
			t.Errorf("%s has no script, or two", p.Name)
		}
		if p.Steps == nil || strings.HasPrefix(p.Name, "faketls/replay") {
			continue
		}
		a, err := p.Steps(&Env{Mode: ModeEE})
		if err != nil {
			t.Fatalf("%s: %v", p.Name, err)
		}
		b, err := p.Steps(&Env{Mode: ModeEE, Proxy: "127.0.0.1:1"})
		if err != nil {
			t.Fatalf("%s: %v", p.Name, err)
		}
		if len(a) != len(b) || len(content(a)) != len(content(b)) && !strings.HasPrefix(p.Name, "hello/chrome") && !strings.HasPrefix(p.Name, "faketls/") {
			t.Errorf("%s sends %d bytes to the site, %d to the proxy", p.Name, len(content(a)), len(content(b)))
		}
	}
	if len(names) < 99 {
		t.Errorf("%d probes", len(names))
	}
}

func content(script []Step) (b []byte) {
	for _, s := range script {
		b = append(b, s.Data...)
	}
	return b
}

// A hello that is well formed is one in which package faketls finds what it has.
func TestClientHelloIsWellFormed(t *testing.T) {
	h := newHello("test")
	for name, b := range map[string][]byte{"one record": h.bytes(), "several": h.split(40)} {
		hello, n, err := faketls.ParseClientHello(b)
		if err != nil || n != len(b) || hello.SNI != site.Domain || hello.CipherSuite != 0x1302 {
			t.Errorf("in %s: %+v, %d of %d bytes, %v", name, hello, n, len(b), err)
		}
	}
	if id := sentSessionID(h.bytes()); !bytes.Equal(id, h.session) {
		t.Errorf("the session ID is %x", id)
	}
	for n := range 70 {
		sentSessionID(h.bytes()[:n])
	}
	if hello, err := goHello(); err != nil || !tlswire.IsTLS(hello) || len(hello) < 200 {
		t.Errorf("Go's hello is %x, %v", hello, err)
	}
	long := newHello("hello/16k")
	long.set(extPadding, make([]byte, 16<<10-len(long.message())-4))
	if n := len(long.bytes()); n != 16<<10+tlswire.HeaderLength {
		t.Errorf("a hello of %d bytes", n)
	}
}

// A redated hello is still signed, with the other time.
func TestRedatedHelloIsSignedForTheOtherTime(t *testing.T) {
	now := time.Unix(1767225600, 0)
	sent, err := faketls.AppendClientHello(nil, &faketls.ClientConfig{Key: key(eeKey), Domain: site.Domain, Time: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	later := now.Add(time.Hour)
	hello, _, err := faketls.ParseClientHello(redate(sent, now, later))
	if err != nil {
		t.Fatal(err)
	}
	if at, ok := hello.Match(key(eeKey)); !ok || !at.Equal(later) {
		t.Errorf("signed for %v, %v", at, ok)
	}
}

// server serves one connection with act, and returns its address.
func server(t *testing.T, act func(*net.TCPConn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := ln.Accept()
		if err == nil {
			act(conn.(*net.TCPConn))
			conn.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String()
}

// An observation has the bytes, their times and the end: FIN, a reset, a reset right
// behind a FIN, or none within the limit.
func TestObservationHasBytesTimesAndEnd(t *testing.T) {
	hello := Probe{Name: "test", Steps: send("hello")}
	late := func(conn *net.TCPConn) {
		io.ReadFull(conn, make([]byte, 5))
		io.WriteString(conn, "one\r\n")
		time.Sleep(200 * time.Millisecond)
		io.WriteString(conn, "two\r\n")
	}
	for _, c := range []struct {
		name  string
		act   func(*net.TCPConn)
		probe Probe
		end   End
		lines []string
	}{
		{"fin", late, hello, EndFin, []string{`"one\r\n"`, `"two\r\n"`}},
		{"reset", func(conn *net.TCPConn) { late(conn); conn.SetLinger(0) }, hello, EndReset, []string{`"one\r\n"`, `"two\r\n"`}},
		{"unread bytes", func(conn *net.TCPConn) { conn.Read(make([]byte, 1)) }, hello, EndReset, nil},
		{"open", func(conn *net.TCPConn) { conn.Read(make([]byte, 5)); conn.Read(make([]byte, 1)) }, hello, EndOpen, nil},
		{"both close", func(conn *net.TCPConn) { io.Copy(io.Discard, conn) }, Probe{Name: "test", Steps: sendFin("hello")}, EndFin, nil},
	} {
		limit := time.Minute
		if c.end == EndOpen {
			limit = 3 * time.Second
		}
		var o Observation
		for range 5 { // on a busy machine, both lines may be read at once
			o = Observe(t.Context(), &c.probe, server(t, c.act), &Env{}, limit)
			if o.Error != "" || o.End != c.end || !slices.Equal(o.Lines, c.lines) {
				t.Errorf("%s: %+v", c.name, o)
			}
			if len(c.lines) == 0 || len(o.Arrivals) == 2 && o.Arrivals[1].At-o.Arrivals[0].At >= 100*time.Millisecond {
				break
			}
		}
		if len(c.lines) > 0 && (len(o.Arrivals) != 2 || o.Arrivals[1].At-o.Arrivals[0].At < 100*time.Millisecond || o.EndAt < o.Arrivals[1].At) {
			t.Errorf("%s: the times are %+v", c.name, o)
		}
	}
}

// A keep-alive is a segment that arrives without data. A site's own is noticed.
func TestKeepAlivesAreObserved(t *testing.T) {
	address := server(t, func(conn *net.TCPConn) {
		conn.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 3 * time.Second, Interval: time.Minute, Count: 1})
		io.Copy(io.Discard, conn)
	})
	o := Observe(t.Context(), &Probe{Name: "test", Steps: send("a")}, address, &Env{}, 6*time.Second)
	// It is noticed at a look at the segments, of which there are two a second on a quick machine.
	if len(o.KeepAlives) != 1 || o.KeepAlives[0] < 2500*time.Millisecond {
		t.Errorf("keep-alives at %v", o.KeepAlives)
	}
}

// Two observations are compared by bytes, by times within the tolerance, by end and
// by keep-alives.
func TestDifferencesAreFoundByKind(t *testing.T) {
	site := Observation{
		Lines:    []string{"alert 0303: 2 40"},
		Arrivals: []Arrival{{time.Second, 7}}, End: EndFin, EndAt: 20 * time.Second,
		KeepAlives: []Keepalive{15 * time.Second},
	}
	for _, c := range []struct {
		name   string
		change func(o *Observation)
		want   []Kind
	}{
		{"nothing", func(o *Observation) {}, nil},
		{"200 ms", func(o *Observation) {
			o.EndAt += 200 * time.Millisecond
			o.Arrivals = []Arrival{{800 * time.Millisecond, 3}, {time.Second, 7}}
			o.KeepAlives = []Keepalive{14600 * time.Millisecond}
		}, nil},
		{"another alert", func(o *Observation) { o.Lines = []string{"alert 0303: 2 50"} }, []Kind{KindBytes}},
		{"more", func(o *Observation) { o.Lines = append(slices.Clone(o.Lines), "alert") }, []Kind{KindBytes}},
		{"less", func(o *Observation) { o.Lines = nil }, []Kind{KindBytes}},
		{"a late byte", func(o *Observation) { o.Arrivals = []Arrival{{time.Second, 6}, {2 * time.Second, 7}} }, []Kind{KindTime}},
		{"an early end", func(o *Observation) { o.EndAt -= time.Second }, []Kind{KindTime}},
		{"a reset", func(o *Observation) { o.End = EndReset }, []Kind{KindEnd}},
		{"no keep-alive", func(o *Observation) { o.KeepAlives = nil }, []Kind{KindKeepAlive}},
		{"no connection", func(o *Observation) { o.Error = "refused" }, []Kind{KindError}},
	} {
		proxy := site
		c.change(&proxy)
		if kinds, details := Compare(site, proxy); !slices.Equal(kinds, c.want) || (len(details) > 0) != (len(c.want) > 0) {
			t.Errorf("%s: %v, %q", c.name, kinds, details)
		}
	}
	// A keep-alive that would come after the proxy's end is none that is missing.
	if kinds, _ := Compare(site, Observation{Lines: site.Lines, Arrivals: site.Arrivals, End: EndFin, EndAt: 10 * time.Second}); !slices.Equal(kinds, []Kind{KindTime}) {
		t.Errorf("an end before the keep-alive: %v", kinds)
	}
}

// Connections that the prober gave up have no end to compare.
func TestOpenConnectionsEndAtTheSameTime(t *testing.T) {
	if kinds, _ := Compare(Observation{End: EndOpen, EndAt: 1}, Observation{End: EndOpen, EndAt: time.Minute}); kinds != nil {
		t.Errorf("%v", kinds)
	}
}

// A repeated probe differs if one answer is none of the site's; another one if all
// differ.
func TestVerdictsOfSeveralAttempts(t *testing.T) {
	fin, reset := Observation{End: EndFin}, Observation{End: EndReset}
	r := &Runner{}
	for _, c := range []struct {
		repeat      int
		site, proxy []Observation
		same        bool
	}{
		{0, []Observation{fin, fin}, []Observation{reset, fin}, true},
		{0, []Observation{fin, fin}, []Observation{reset, reset}, false},
		{2, []Observation{fin, reset}, []Observation{reset, fin}, true},
		{2, []Observation{fin, fin}, []Observation{reset, fin}, false},
		{2, []Observation{fin, fin}, []Observation{fin, reset}, false},
	} {
		got := r.judge(site.Kind{Name: "a"}, &attempt{probe: &Probe{Repeat: c.repeat}, site: c.site, proxy: c.proxy})
		if (len(got.Kinds) == 0) != c.same {
			t.Errorf("%+v: %v", c, got.Kinds)
		}
	}
}

const knownText = `
# A comment.
nginx,go  *      short/*       time      # the site's clock starts late
*         ee+dd  short/80,b/c  time,end  # waits for 64 bytes
`

// Known differences explain kinds; those that no result has are obsolete.
func TestKnownDifferencesExplainKinds(t *testing.T) {
	known, err := ParseKnown(strings.NewReader(knownText))
	if err != nil || len(known) != 2 {
		t.Fatalf("%+v, %v", known, err)
	}
	for _, c := range []struct {
		site    string
		mode    Mode
		name    string
		kinds   []Kind
		unknown []Kind
		used    int
	}{
		{"nginx", ModeEE, "short/16", []Kind{KindTime}, nil, 1},
		{"nginx", ModeEE, "short/16", []Kind{KindTime, KindEnd}, []Kind{KindEnd}, 1},
		{"caddy", ModeEE, "short/16", []Kind{KindTime}, []Kind{KindTime}, 0},
		{"caddy", ModeEEDD, "short/80", []Kind{KindTime, KindEnd}, nil, 1},
		{"go", ModeEEDD, "short/80", []Kind{KindTime, KindEnd}, nil, 2},
		{"go", ModeEE, "long/80", nil, nil, 0},
	} {
		unknown, used := explain(known, c.site, c.mode, c.name, c.kinds)
		if !slices.Equal(unknown, c.unknown) || len(used) != c.used {
			t.Errorf("%+v: %v, %v", c, unknown, used)
		}
	}
	results := []Result{{Site: "nginx", Mode: ModeEE, Probe: "short/16", used: known[:1]}, {Site: "a", Mode: ModeEEDD, Probe: "b/c"}}
	if obsolete := Obsolete(known, results); len(obsolete) != 1 || obsolete[0].Line != 4 {
		t.Errorf("obsolete: %+v", obsolete)
	}
	if obsolete := Obsolete(known, results[:1]); len(obsolete) != 0 {
		t.Errorf("obsolete without a comparison: %+v", obsolete)
	}
	for _, bad := range []string{"a b c d", "a b c # reason", "a b c d #", "[ b c d # reason"} {
		if _, err := ParseKnown(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// The table has a line for each probe that differs, a column for each site and mode,
// and what is not known in capital letters.
func TestTableShowsDifferences(t *testing.T) {
	results := []Result{
		{Site: "nginx", Mode: ModeEE, Probe: "a/b", Kinds: []Kind{KindTime, KindEnd}, Unknown: []Kind{KindEnd}, Details: []string{"late"}},
		{Site: "nginx", Mode: ModeEEDD, Probe: "a/b", Kinds: []Kind{KindTime}, Reasons: []string{"known reason"}},
		{Site: "nginx", Mode: ModeEE, Probe: "c/d"},
	}
	var b bytes.Buffer
	if err := PrintTable(&b, results, false); err != nil {
		t.Fatal(err)
	}
	PrintDetails(&b, results, true)
	for _, want := range []string{
		"probe  nginx, ee  nginx, ee+dd\n", "a/b    time+END   time\n", "1 more probes",
		"nginx, ee: 1 same, 0 known differences, 1 unknown ones", "nginx, ee+dd: 0 same, 1 known differences", "known: known reason", "  late\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, &b)
		}
	}
	if strings.Contains(b.String(), "c/d") {
		t.Errorf("the table has a probe without a difference:\n%s", &b)
	}
}

// Visitors that the proxy answers later than the site are counted.
func TestCrowdsAreComparedByRank(t *testing.T) {
	site := []time.Duration{1, time.Second}
	for _, c := range []struct {
		proxy []time.Duration
		want  []Kind
	}{
		{[]time.Duration{tolerance, time.Second + tolerance}, nil},
		{[]time.Duration{1, time.Second + tolerance + 1}, []Kind{KindTime}},
		{[]time.Duration{1}, []Kind{KindBytes}},
	} {
		if kinds, _ := compareCrowds(site, c.proxy); !slices.Equal(kinds, c.want) {
			t.Errorf("%v: %v", c.proxy, kinds)
		}
	}
}

func TestSecretIsReadFromTheLink(t *testing.T) {
	for text, want := range map[string]string{
		"tg://proxy?server=1.2.3.4&port=1&secret=ee00\nmore": "ee00",
		"tg://proxy?secret=dd00&server=a":                    "dd00",
		"nothing":                                            "",
		"secret=":                                            "",
	} {
		if got, err := linkSecret(text); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}
