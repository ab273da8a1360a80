package admission

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// Lower limits evict as many members as are too many, in the order in which they make
// room for newcomers, and name the limit.
func TestLowerLimitsEvictInTheUsualOrder(t *testing.T) {
	table := newTestTable(Limits{Address: 100, Site: 100, Total: 100})
	for i, class := range []Class{Answered, Silent, Partial, Silent, Partial, Answered} {
		table.enter(fmt.Sprint(i), fmt.Sprintf("192.0.%d.1", i), class)
	}
	table.clock = table.clock.Add(time.Minute)
	table.SetLimits(Limits{Address: 10, Site: 10, Total: 2})
	if want := []string{"2", "4", "1", "3"}; !slices.Equal(table.gone, want) {
		t.Errorf("evicted %v, want %v", table.gone, want)
	}
	if reason := table.reasons["2"]; reason.Scope != Total || reason.Limit != 2 {
		t.Errorf("%+v", reason)
	}
	table.SetLimits(Limits{Address: 100, Site: 100, Total: 100})
	table.enter("new", "192.0.9.1", Silent)
	if len(table.gone) != 4 || table.Len() != 3 {
		t.Errorf("with higher limits: evicted %v, %d left", table.gone, table.Len())
	}
}

// Each address and site gets within its own new limit, and the others keep what they
// have.
func TestLowerLimitsOfNetworks(t *testing.T) {
	table := newTestTable(Limits{Address: 1000, Site: 1000, Total: 10000})
	const crowd = 2*evictedAtOnce + 7
	for i := range crowd {
		table.enter(fmt.Sprint("crowd", i), "192.0.2.1", Silent)
	}
	for i := range 6 {
		table.enter(fmt.Sprint("site", i), fmt.Sprintf("198.51.100.%d", i), Silent)
	}
	table.enter("other", "203.0.113.1", Silent)
	table.SetLimits(Limits{Address: 3, Site: 4, Total: 1000})
	if want := crowd - 3 + 2; len(table.gone) != want || table.Len() != 3+4+1 {
		t.Errorf("%d evicted, want %d, and %d left", len(table.gone), want, table.Len())
	}
	if reason := table.reasons["crowd0"]; reason.Scope != Address || reason.Network.String() != "192.0.2.1/32" {
		t.Errorf("%+v", reason)
	}
	if reason := table.reasons["site0"]; reason.Scope != Site || reason.Limit != 4 {
		t.Errorf("%+v", reason)
	}
}
