package splice

import (
	"io"
	"math"
	"testing"
	"time"
)

// A direction with a Delay reads little at first, whichever way it copies, and twice as
// much each time that it does not pause.
func TestARateLimitBeginsWithShortReads(t *testing.T) {
	const total = 1 << 20
	for name, wrap := range wrappers {
		for treatment, treat := range treatments {
			t.Run(name+", "+treatment, func(t *testing.T) {
				client, left := pair(t)
				right, server := pair(t)
				go func() {
					client.Write(make([]byte, total))
					client.CloseWrite()
				}()
				var reads []int
				up := Flow{Dst: wrap(right), Src: wrap(left), Delay: func(n int) time.Duration {
					reads = append(reads, n)
					return 0
				}}
				treat(&up)
				ended := make(chan Result, 1)
				Start(up, Flow{Dst: wrap(left), Src: wrap(right)}, &Config{}, func(up, _ Result) { ended <- up })
				go io.Copy(io.Discard, client)
				io.Copy(io.Discard, server)
				server.CloseWrite()
				if r := <-ended; r.Bytes != total || r.Err != nil {
					t.Errorf("%+v", r)
				}
				most := leastRead
				for i, n := range reads {
					// A body that is longer than the limit is read whole.
					if n > most+1<<10 {
						t.Errorf("read %d has %d bytes, want %d at most", i, n, most)
					}
					most = min(2*most, mostRead)
				}
			})
		}
	}
}

// The limit of a read follows the pauses: at a low rate it is the least, at a high one
// none, and in between a read is worth about 50 to 100 ms. Without a Delay there is
// none.
func TestReadsAreAsLongAsTheRateAllows(t *testing.T) {
	for rate, want := range map[float64][2]int{
		64 << 10:    {leastRead, leastRead},
		1 << 20:     {64 << 10, 128 << 10},
		100 << 20:   {mostRead, mostRead},
		math.Inf(1): {mostRead, mostRead},
	} {
		d := &direction{pair: &Pair{}, flow: Flow{Delay: func(n int) time.Duration {
			return time.Duration(float64(n) / rate * float64(time.Second))
		}}}
		for range 20 {
			d.delayed(d.limitRead(0))
		}
		if got := d.limitRead(0); got < want[0] || got > want[1] {
			t.Errorf("%g bytes a second: reads of %d", rate, got)
		}
		for range 100 {
			d.delayed(100)
		}
		if got := d.limitRead(0); got > want[1] {
			t.Errorf("%g bytes a second: reads of %d after short messages", rate, got)
		}
	}
	if n := new(direction).limitRead(mostRead); n != mostRead {
		t.Error(n)
	}
}
