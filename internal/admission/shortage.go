package admission

import (
	"context"
	"sync"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
)

const (
	// evictedAtShortage is how many connections make room when there is no descriptor for
	// another one.
	evictedAtShortage = 16

	// minShortagePause is the first pause of a call of Redial that waits for a descriptor.
	// Each is twice as long as the one before, up to maxShortagePause: 1.3 seconds together.
	minShortagePause = 5 * time.Millisecond
	maxShortagePause = 640 * time.Millisecond
)

// Shortage has connections make room when the process has no descriptor for another one. Its
// methods, and Redial, may be called concurrently.
type Shortage struct {
	// Tables have the connections that make room, those of the first table first.
	Tables []*Table

	waiting sync.Mutex // held by the call of Redial that waits for a descriptor
}

// IsShortage reports whether err means that there is no descriptor.
func IsShortage(err error) bool { return netx.IsErrno(err, netx.EMFILE, netx.ENFILE) }

// MakeRoom evicts connections if err means that there is no descriptor. It reports whether it
// has evicted some.
func (s *Shortage) MakeRoom(err error) bool {
	if !IsShortage(err) {
		return false
	}
	evicted := 0
	for _, table := range s.Tables {
		evicted += table.EvictOldest(evictedAtShortage - evicted)
	}
	return evicted > 0
}

// Redial calls dial again, which has failed with err, while there is no descriptor: at once if
// others have made room, and then after pauses, since it takes them a moment. So a client is not
// lost to descriptors that the process has for a moment, such as that of a socket to a resolver.
//
// One call waits at a time, and the others fail, which leaves their descriptors to it: if all
// waited, each with the descriptor of its client, none would get a second one.
func Redial[T any](ctx context.Context, s *Shortage, err error, dial func(context.Context) (T, error)) (conn T, _ error) {
	if s.MakeRoom(err) {
		conn, err = dial(ctx)
	}
	if !IsShortage(err) || !s.waiting.TryLock() {
		return conn, err
	}
	defer s.waiting.Unlock()
	for pause := minShortagePause; pause <= maxShortagePause && IsShortage(err); pause *= 2 {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return conn, err
		}
		conn, err = dial(ctx)
	}
	return conn, err
}
