package loadgen

import (
	"testing"
	"time"
)

// The data centre sends no packet of a paced download before its time.
func TestPacedDownloadsAreNotFaster(t *testing.T) {
	dc := startDataCenter(t)
	c := dialDirect(t, dc, direct(dc.Addr()).Protocol, 0)
	const pace, packets = 5 * time.Millisecond, 9
	if err := c.sendControl(testContext(t), kindPace, uint64(pace)); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := c.Download(testContext(t), packets); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < (packets-1)*pace {
		t.Errorf("%d packets in %v", packets, took)
	}
}

// A session that is asked for a pace beyond the limit ends: its end would be noticed
// late.
func TestPaceIsLimited(t *testing.T) {
	dc := startDataCenter(t)
	for pace, ok := range map[uint64]bool{uint64(maxPace): true, uint64(maxPace) + 1: false, 1 << 63: false} {
		c := dialDirect(t, dc, direct(dc.Addr()).Protocol, 0)
		if err := c.sendControl(testContext(t), kindPace, pace); err != nil {
			t.Fatal(err)
		}
		if err := c.Echo(testContext(t)); (err == nil) != ok {
			t.Errorf("pace of %d ns: %v", pace, err)
		}
	}
}

// The pace follows from the rate and the size of a packet.
func TestPaceOfALoad(t *testing.T) {
	load := PacedLoad{Rate: 2_000_000, Size: 4088}
	if got, want := load.pace(), 16352*time.Microsecond; got != want {
		t.Errorf("%v, want %v", got, want)
	}
}
