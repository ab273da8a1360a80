package keysearch

import (
	"testing"
	"testing/synctest"
	"time"
)

// A new share of processor time holds for the failed searches from then on, and what
// waits does not wait for longer because of the change.
func TestShareOfProcessorTimeChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const duration, clients = 10 * time.Second, 32
		s := newTimedSearch(Config{Processors: 0.5}, 300)
		end := time.Now().Add(3 * duration)
		for i := range clients {
			go func() {
				for k := i; time.Now().Before(end); k += clients {
					s.fail(t.Context(), address(k%16), helloQuery)
					time.Sleep(10 * time.Millisecond)
				}
			}()
		}
		time.Sleep(duration) // the bucket is spent
		for _, share := range []float64{1.5, 0.25} {
			before := s.took.Load()
			s.SetProcessors(share)
			time.Sleep(duration)
			took := time.Duration(s.took.Load() - before)
			if want := time.Duration(share * float64(duration)); took > want*5/4 || took < want*3/4 {
				t.Errorf("with a share of %v, failed searches took %v in %v", share, took, duration)
			}
		}
		time.Sleep(time.Minute)
	})
}
