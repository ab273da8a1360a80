package attack

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire/interop/probes/probe"
	"github.com/mtwire/mtwire/interop/process"
)

func waits(served, of int, delay time.Duration) Waits {
	return Waits{Kind: "clients", Served: served, Of: of, Delays: slices.Repeat([]time.Duration{delay}, served)}
}

// 95 of 100 newcomers must be served within the limit. Those that are not served
// count as the slowest.
func TestNewcomersMustBeServedInTime(t *testing.T) {
	for _, c := range []struct {
		w      Waits
		served bool
		text   string
	}{
		{waits(40, 40, time.Millisecond), true, "1ms, 1ms"},
		{waits(39, 40, time.Millisecond), true, "1ms, 1ms, 1 of 40 not served"},
		{waits(30, 40, time.Millisecond), false, "1ms, -, 10 of 40 not served"},
		{waits(0, 40, 0), false, "-, -, 40 of 40 not served"},
		{waits(40, 40, maxWait+1), false, "2s, 2s"},
	} {
		if c.w.served() != c.served || c.w.String() != c.text {
			t.Errorf("%+v: %v, %q", c.w, c.w.served(), c.w)
		}
	}
}

func TestFiguresAreATableAndResults(t *testing.T) {
	all := []Figures{{
		Scenario: "silent", Held: 5000, Alive: 4096, Waits: []Waits{waits(40, 40, time.Millisecond), {Kind: "visitors", Of: 40}},
		Before: process.Resources{Descriptors: 11, Resident: 12000}, During: process.Resources{Descriptors: 5011, Resident: 50000},
	}}
	var b bytes.Buffer
	if err := PrintTable(&b, all); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"clients", "visitors", "5000  4096   1ms, 1ms", "12000, 50000, 0", "11, 5011, 0"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, &b)
		}
	}
	results := Results(all, nil)
	if n := probe.Count(results); n != (probe.Counts{Same: 1, Unknown: 1}) || results[1].Probe != "attack/silent-visitors" {
		t.Errorf("%+v", results)
	}
}

// A visitor of the front is answered, also beside connections that are held, and held
// connections are counted as alive until they are closed.
func TestFrontAnswersVisitors(t *testing.T) {
	front, err := startFront()
	if err != nil {
		t.Fatal(err)
	}
	defer front.Close()
	ctx := context.Background()
	a := &attacker{proxy: front.Addr().String()}
	held, err := a.hold(ctx, scenario{open: openFronted}, 3)
	if err != nil || held != 3 || a.alive() != 3 {
		t.Errorf("%d held, %d alive, %v", held, a.alive(), err)
	}
	if err := visitor(ctx, otherAddress, a.proxy, 0); err != nil {
		t.Error(err)
	}
	a.close()
	if n := a.alive(); n != 0 {
		t.Errorf("%d alive after the end", n)
	}
}
