package keysearch

import "time"

const (
	// sliceTime is about how long a slice of a search takes. A client whose
	// search comes first waits for no more than one slice of another.
	sliceTime = 2 * time.Millisecond

	// minSample is the least time that a speed is measured over. It is well
	// above the resolution of clocks, of which the coarsest has half a
	// millisecond.
	minSample = time.Millisecond

	// minSlice is the least number of keys in a slice that has not all that are
	// left. Fewer would leave vector units idle.
	minSlice = 64
)

// work returns how much work it is to try that many keys, in units of a SHA-256
// block for a hello, and of a key for an init payload.
func (q Query) work(keys int) int {
	if !q.FakeTLS {
		return keys
	}
	// HMAC has three blocks and the padding besides the message.
	return keys * (4 + q.Length/64)
}

// UsualLength is the greatest length that hellos of Telegram's clients have, in
// bytes, with room for longer keys: they have had 517, and about 1,800 since they
// offer ML-KEM.
const UsualLength = 4 << 10

// isCheap reports whether the keys of s are tried at once, without the queue: few
// keys on a hello of a length that clients send.
func (q Query) isCheap(s set) bool {
	keys := len(s.indexes)
	return keys <= fewSecrets && keys*q.Length <= fewSecrets*UsualLength
}

// speed estimates how long a unit of work takes on this processor. It follows
// the measured durations of slices, downwards quicker than upwards: a slice that
// took longer than others was interrupted, and what interrupted it is not its
// cost.
type speed struct {
	perUnit  float64 // nanoseconds; 0 means the default of the work
	measured bool

	// What was measured since the last estimate.
	units int
	took  time.Duration
}

// newSpeeds returns the speeds for init payloads and for hellos, without vector
// units and SHA instructions, until they are measured.
func newSpeeds() [2]speed { return [2]speed{{perUnit: 1000}, {perUnit: 250}} }

// measure notes that so much work took that long.
func (s *speed) measure(units int, took time.Duration) {
	s.units += units
	s.took += took
	if s.took < minSample {
		return
	}
	sample := float64(s.took) / float64(s.units)
	s.units, s.took = 0, 0
	switch {
	case !s.measured:
		s.perUnit, s.measured = sample, true
	case sample < s.perUnit:
		s.perUnit += (sample - s.perUnit) / 2
	default:
		s.perUnit += (min(sample, 4*s.perUnit) - s.perUnit) / 16
	}
}

// cost returns how long so much work takes.
func (s *speed) cost(units int) time.Duration {
	return time.Duration(s.perUnit * float64(units))
}

// slice returns how many of so many keys are the next slice, if the work for one
// key is perKey. The last slice is not much smaller than the others.
func (s *speed) slice(keys, perKey int) int {
	n := max(minSlice, int(float64(sliceTime)/(s.perUnit*float64(perKey)))/16*16)
	if n+n/2 >= keys {
		return keys
	}
	return n
}
