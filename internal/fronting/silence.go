package fronting

import (
	"context"
	"math/rand/v2"
	"net"
	"time"

	"github.com/mtwire/mtwire/internal/bufpool"
)

const (
	// A stranger for whom there is no host is read from for so long. The limit
	// is drawn for each, so that it is no fingerprint.
	minSilence    = 10 * time.Second
	silenceSpread = 5 * time.Second
)

// silence reads from a stranger and says nothing, until it goes away, the time
// is over, or ctx ends.
func silence(ctx context.Context, conn net.Conn) {
	conn.SetReadDeadline(time.Now().Add(minSilence + rand.N(silenceSpread)))
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(longAgo) })
	defer stop()
	sink := bufpool.Get(bufpool.Min)
	defer bufpool.Put(sink)
	for {
		if _, err := conn.Read(sink.B); err != nil {
			return
		}
	}
}
