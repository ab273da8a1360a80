package proxy

import (
	"reflect"
	"testing"

	"github.com/mtwire/mtwire/internal/fronting"
)

func TestRecordsAreThoseOfTheHost(t *testing.T) {
	for _, c := range []struct {
		records      fronting.Records
		leading      []int
		ramp         []int
		max, minimum int
	}{
		{fronting.Records{}, nil, nil, 16401, 18},
		{fronting.Records{Max: 8017, Tickets: []int{306, 306}}, []int{306, 306}, nil, 8017, 18},
		{fronting.Records{Max: 16401, Ramp: []int{1203, 2389}}, nil, []int{1203, 2389}, 16401, 18},
		{fronting.Records{Max: 16401, Ramp: []int{20, 2389}, Tickets: []int{24}}, nil, nil, 16401, 18}, // too short
	} {
		f := clientRecords(c.records)
		if !reflect.DeepEqual(f.Leading, c.leading) || !reflect.DeepEqual(f.Ramp, c.ramp) || f.MaxBody != c.max || f.MinBody != c.minimum {
			t.Errorf("%+v: %+v", c.records, f)
		}
	}
}

// Sessions of one host share a framing, and a host that is measured again and again
// takes no more memory.
func TestSessionsOfAHostShareAFraming(t *testing.T) {
	var f framings
	records := func(max int) fronting.Records { return fronting.Records{Max: max, Tickets: []int{306, 306}} }
	first := f.of(records(8000))
	if first.MaxBody != 8000 || f.of(records(8000)) != first {
		t.Error("a host's framing is not shared")
	}
	if other := f.of(fronting.Records{Max: 8000, Tickets: []int{306}}); other == first || len(other.Leading) != 1 {
		t.Errorf("another host has %+v", other)
	}
	for n := range 10 * maxFramings {
		if framing := f.of(records(9000 + n)); framing.MaxBody != 9000+n {
			t.Errorf("%+v", framing)
		}
	}
	if n := len(*f.last.Load()); n != maxFramings {
		t.Errorf("%d framings are kept", n)
	}
	if f.of(fronting.Records{}) != defaultRecords {
		t.Error("a host that was not measured has a framing of its own")
	}
}
