package proxy

import (
	"context"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/route"
)

const (
	// minShortagePause is the first pause of a session that waits for a descriptor. Each is
	// twice as long as the one before, up to maxShortagePause: 1.3 seconds together.
	minShortagePause = 5 * time.Millisecond
	maxShortagePause = 640 * time.Millisecond
)

// isShortage reports whether err means that there is no descriptor.
func isShortage(err error) bool { return netx.IsErrno(err, netx.EMFILE, netx.ENFILE) }

// makeRoom evicts unauthenticated connections if err means that there is no
// descriptor. It reports whether it has evicted some.
func (p *Proxy) makeRoom(err error) bool {
	if !isShortage(err) {
		return false
	}
	evicted := p.pending.EvictOldest(evictedAtShortage)
	return evicted+p.headers.EvictOldest(evictedAtShortage-evicted) > 0
}

// dialInShortage calls dial again, which has failed with err, while there is no descriptor: at
// once if unauthenticated connections have made room, and then after pauses. So an authenticated
// client is not lost to descriptors that the process has for a moment, of a file in its state
// directory or of a socket to a resolver.
//
// One session waits at a time, and the others fail, which leaves their descriptors to it:
// if all waited, each with the descriptor of its client, none would get a second one.
func (p *Proxy) dialInShortage(ctx context.Context, err error, dial func(context.Context) (*route.Upstream, error)) (upstream *route.Upstream, _ error) {
	if p.makeRoom(err) {
		upstream, err = dial(ctx)
	}
	if err == nil || !isShortage(err) || !p.shortage.TryLock() {
		return upstream, err
	}
	defer p.shortage.Unlock()
	for pause := minShortagePause; pause <= maxShortagePause; pause *= 2 {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, err
		}
		if upstream, err = dial(ctx); err == nil || !isShortage(err) {
			break
		}
	}
	return upstream, err
}
