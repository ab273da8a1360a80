package proxy

import (
	"testing"
	"testing/synctest"
	"time"
)

// Memory is released once after a crowd has come or gone. A few sessions are no crowd.
func TestMemoryIsReleasedAfterACrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		releases := 0
		r := memoryRelease{release: func() { releases++ }}
		expect := func(what string, want int, n, open int64) {
			t.Helper()
			releases = 0
			for range n {
				r.changed(open)
			}
			time.Sleep(10 * quietTime)
			synctest.Wait()
			if releases != want {
				t.Errorf("%s: released %d times, want %d", what, releases, want)
			}
		}
		expect("a few sessions", 0, minChurn-1, 10)
		expect("another one", 1, 1, 10)
		expect("a crowd", 1, 3*minChurn, 10)
		expect("a few of many sessions", 0, 3*minChurn, 10*minChurn)
		expect("half of many sessions", 1, 2*minChurn, 10*minChurn)
	})
}

// The release waits for the end of the crowd, for up to crowdLimit.
func TestMemoryIsReleasedWhenTheCrowdHasEnded(t *testing.T) {
	for _, c := range []struct {
		lasts, released time.Duration
	}{
		{3 * time.Second, 4 * time.Second},
		{time.Minute, crowdLimit},
	} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			var released time.Duration
			r := memoryRelease{release: func() {
				if released == 0 {
					released = time.Since(begin)
				}
			}}
			for time.Since(begin) < c.lasts {
				for range minChurn {
					r.changed(10)
				}
				time.Sleep(quietTime / 2)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			if late := released - c.released; late < 0 || late > 2*quietTime {
				t.Errorf("a crowd of %v: released after %v, want %v", c.lasts, released, c.released)
			}
		})
	}
}

// One release takes at most a hundredth of the time to the next one.
func TestReleasesOfMemoryTakeLittleTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const takes = time.Second
		var releases []time.Time
		r := memoryRelease{release: func() {
			releases = append(releases, time.Now())
			time.Sleep(takes)
		}}
		for range 1000 {
			for range minChurn {
				r.changed(10)
			}
			time.Sleep(quietTime)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(releases) < 3 {
			t.Fatalf("released %d times", len(releases))
		}
		for i, at := range releases[1:] {
			if apart := at.Sub(releases[i]); apart < releaseShare*takes {
				t.Errorf("released again after %v", apart)
			}
		}
	})
}

// A proxy without ReleaseMemory leaves memory to the collector.
func TestWithoutReleaseMemoryNothingIsScheduled(t *testing.T) {
	var r memoryRelease
	for range 10 * minChurn {
		r.changed(1)
	}
	if r.scheduled.Load() || r.churn.Load() != 0 {
		t.Error("a release is scheduled")
	}
}
