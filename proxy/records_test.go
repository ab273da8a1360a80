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
