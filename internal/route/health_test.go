package route

import (
	"testing"
	"time"
)

// The back-off doubles from ten seconds to five minutes. Failures during it do not
// count.
func TestBackOffDoublesUpToFiveMinutes(t *testing.T) {
	var h health
	now := time.Unix(1e9, 0)
	for i, want := range []int{10, 20, 40, 80, 160, 300, 300, 300, 300, 300, 300, 300} {
		for range 50 {
			h.fail(now)
		}
		until := now.Add(time.Duration(want) * time.Second)
		if !h.failing(until.Add(-1)) || h.failing(until) {
			t.Fatalf("failure %d: %v, want %d s", i+1, h.until.Sub(now), want)
		}
		now = until
	}
	h.fail(now)
	h.succeed()
	if h.failing(now) || h != (health{}) {
		t.Error("a success does not clear the failures")
	}
}
