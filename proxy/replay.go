package proxy

import (
	"log/slog"
	"time"

	"github.com/mtwire/mtwire/internal/replay"
)

// ReplayCache remembers the handshakes of clients that have a secret, so that a recorded
// one is not answered. Those of clients that are refused are remembered too: otherwise
// the recording would be answered once their user has room. Its method is called
// concurrently, once in a handshake, which waits for it.
type ReplayCache interface {
	// Seen remembers id, and reports whether it was remembered already. id stands
	// for one FakeTLS hello or one init payload: it is a part that a client chooses
	// at random, and that cannot be changed without the secret. For FakeTLS this is
	// so for the first 28 bytes of the hello's random, but not for the time in the
	// last four.
	Seen(id [16]byte) bool
}

// newReplayCache returns the default for Config.Replay.
func newReplayCache(log *slog.Logger) ReplayCache {
	return replay.New(replay.Options{Full: func(reach time.Duration) {
		log.Warn("the replay cache is full: older handshakes can be replayed", "remembered", reach.Round(time.Second))
	}})
}
