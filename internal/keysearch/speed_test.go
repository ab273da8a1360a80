package keysearch

import (
	"math/rand/v2"
	"testing"
	"time"
)

// The estimate follows the processor: from any start, and when it changes.
func TestSpeedFollowsMeasurements(t *testing.T) {
	s := newSpeeds()[1]
	for _, perUnit := range []float64{13, 40, 300, 13} {
		for range 200 {
			s.measure(100_000, time.Duration(100_000*perUnit))
		}
		if s.perUnit < perUnit*0.95 || s.perUnit > perUnit*1.05 {
			t.Errorf("estimated %v ns, want %v", s.perUnit, perUnit)
		}
	}
}

// The first measurement counts at once: a search begins with a small slice.
func TestFirstMeasurementIsTheEstimate(t *testing.T) {
	s := newSpeeds()[1]
	s.measure(100_000, 1300*time.Microsecond)
	if s.perUnit != 13 {
		t.Errorf("estimated %v ns, want 13", s.perUnit)
	}
}

// On a busy machine slices are interrupted: one in three takes up to ten times as
// long. The estimate stays near the processor time.
func TestInterruptionsAreNoCost(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	s := newSpeeds()[1]
	var sum float64
	const n = 1000
	for i := range 2 * n {
		took := 2 * time.Millisecond
		if random.IntN(3) == 0 {
			took *= time.Duration(1 + random.IntN(10))
		}
		s.measure(100_000, took)
		if i >= n {
			sum += s.perUnit
		}
	}
	if mean := sum / n; mean < 20 || mean > 30 {
		t.Errorf("estimated %.1f ns on average, want about 20", mean)
	}
}

// A clock that ticks every half millisecond, in which most slices take no time,
// gives the same estimate.
func TestCoarseClocksAreAveraged(t *testing.T) {
	s := newSpeeds()[0]
	const tick, perKey = 500 * time.Microsecond, 80 * time.Nanosecond
	now := time.Duration(0)
	for range 10_000 {
		before := now.Truncate(tick)
		now += 500 * perKey
		s.measure(500, now.Truncate(tick)-before)
	}
	if s.perUnit < 60 || s.perUnit > 100 {
		t.Errorf("estimated %v ns, want 80", s.perUnit)
	}
}

// Slices take about sliceTime, have minSlice keys or more, and the last one is not
// much smaller.
func TestSlicesTakeAboutTheSameTime(t *testing.T) {
	for _, perUnit := range []float64{13, 40, 300, 1000} {
		for _, q := range []Query{initQuery, helloQuery, longHelloQuery} {
			s := speed{perUnit: perUnit}
			for left, first := 10_000, 0; left > 0; {
				n := s.slice(left, q.work(1))
				if first == 0 {
					first = n
				}
				took := s.cost(q.work(n))
				if n > left || n < min(left, minSlice) || n > minSlice*3/2 && took > 2*sliceTime || left > 2*first && took < sliceTime/2 {
					t.Fatalf("%v ns, %+v: a slice of %d of %d keys, which takes %v", perUnit, q, n, left, took)
				}
				left -= n
			}
		}
	}
}

// The estimate of the work is in proportion to what is hashed.
func TestWorkIsInProportionToTheHello(t *testing.T) {
	short, long := helloQuery.work(1000), longHelloQuery.work(1000)
	if ratio := float64(long) / float64(short); ratio < 7 || ratio > 10 {
		t.Errorf("16 KiB are %.1f times as much work as %d bytes", ratio, helloQuery.Length)
	}
	if initQuery.work(10) != 10 || helloQuery.work(20) != 2*helloQuery.work(10) {
		t.Error("the work is not in proportion to the keys")
	}
}
