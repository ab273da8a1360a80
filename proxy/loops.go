package proxy

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/mtwire/mtwire/internal/handshake"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/route"
	"github.com/mtwire/mtwire/obfuscation"
)

// Loop detection. An MTProxy upstream may lead back to this proxy: it has this
// proxy's own link, or that of a proxy whose upstream is this one. A client's
// connection would go round without end.
//
// Each proxy draws new keys, so of what a proxy sends, its upstream passes on only
// the framing, the number of the data centre and the upload. The beginning of the
// upload is unique, since it has the nonce of a key exchange or the key of an
// encrypted message. So the proxy remembers it until the first byte down, and a
// client that sends the same meanwhile is one that the proxy has sent itself. The
// trailer of the init payload, which other proxies of this kind pass on, tells such a
// client from one that repeats another's bytes. It is encrypted and was drawn by the
// client, so an observer sees no mark.
//
// The upload must have begun before an upstream is dialled. Without MTProxy
// upstreams no connection can come back, and nothing waits or is remembered.

// loopBytes is how many bytes of the upload are compared. No packet is shorter: the
// shortest message has 40 bytes, in front of which is a length.
const loopBytes = 40

// maxSame is how many sessions with the same beginning of their uploads and with
// other trailers may wait for an answer. More of them go round through a proxy that
// draws a trailer of its own.
const maxSame = 8

// errLoop ends a session whose client is the proxy itself.
var errLoop = errors.New("the connection comes from this proxy itself: an upstream leads back to it")

// loops remembers the beginnings of uploads that were sent to MTProxies and not
// answered yet.
type loops struct {
	mu   sync.Mutex
	sent map[[loopBytes]byte][]*sentUpload
}

// sentUpload is one of them.
type sentUpload struct {
	loops    *loops
	first    [loopBytes]byte
	trailer  [2]byte
	upstream *route.Upstream // the last MTProxy that it was sent to
}

func newLoops() *loops { return &loops{sent: make(map[[loopBytes]byte][]*sentUpload)} }

// find returns the upstream that a client's connection has come back from, nil if it
// comes from a client.
func (l *loops) find(u *sentUpload) *route.Upstream {
	l.mu.Lock()
	defer l.mu.Unlock()
	same := l.sent[u.first]
	for _, before := range same {
		if before.trailer == u.trailer {
			return before.upstream
		}
	}
	if len(same) >= maxSame {
		return same[0].upstream
	}
	return nil
}

// add remembers that u is sent to upstream. It does nothing if u is nil, or upstream
// is no MTProxy.
func (u *sentUpload) add(upstream *route.Upstream) {
	if u == nil || !upstream.MTProxy {
		return
	}
	u.loops.mu.Lock()
	defer u.loops.mu.Unlock()
	if u.upstream == nil {
		u.loops.sent[u.first] = append(u.loops.sent[u.first], u)
	}
	u.upstream = upstream
}

// remove forgets u, which may be nil. It may be called again.
func (u *sentUpload) remove() {
	if u == nil {
		return
	}
	u.loops.mu.Lock()
	defer u.loops.mu.Unlock()
	if u.upstream == nil {
		return
	}
	u.upstream = nil
	var others []*sentUpload
	for _, other := range u.loops.sent[u.first] {
		if other != u {
			others = append(others, other)
		}
	}
	if u.loops.sent[u.first] = others; others == nil {
		delete(u.loops.sent, u.first)
	}
}

// checkLoop waits for the beginning of the client's upload, and calls proceed,
// perhaps after it has returned. The error is errLoop if the client is this proxy.
func (s *session) checkLoop(ctx context.Context, client *handshake.Result, proceed func(error)) {
	var check func()
	check = func() {
		err := s.readUpload(ctx, client)
		if netx.IsTimeout(err) && park(ctx, s.proxy.relaying.Poller, s.socket, check) {
			return
		}
		for netx.IsTimeout(err) {
			err = s.readUpload(ctx, client)
		}
		if err == nil {
			err = s.findLoop(client)
		}
		proceed(err)
	}
	check()
}

// readUpload reads the beginning of the upload into client.Buffered. It returns a
// timeout, and may be called again, if that has not come after goroutineTime.
func (s *session) readUpload(ctx context.Context, client *handshake.Result) error {
	client.Conn.SetReadDeadline(time.Now().Add(goroutineTime))
	defer client.Conn.SetReadDeadline(time.Time{})
	var room [1024]byte
	for len(client.Buffered) < loopBytes {
		n, err := client.Conn.Read(room[:])
		if n > 0 {
			read := room[:n]
			if client.Records != nil {
				var bad error
				if n, bad = client.Records.Deframe(read); bad != nil {
					return bad
				}
			}
			client.Buffered = append(client.Buffered, read[:n]...)
			continue
		}
		if ended := ctx.Err(); ended != nil {
			return ended
		}
		if err == io.EOF {
			return errClientGone
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// findLoop returns errLoop, and warns of the upstream, if the client is this proxy.
func (s *session) findLoop(client *handshake.Result) error {
	u := &sentUpload{loops: s.proxy.loops, trailer: client.Trailer}
	client.Upload.StreamAt(obfuscation.InitLength).XORKeyStream(u.first[:], client.Buffered[:loopBytes])
	if upstream := s.proxy.loops.find(u); upstream != nil {
		upstream.Looped()
		s.proxy.counters.loops.Add(1)
		s.proxy.trace.looped(upstream.Via)
		return errLoop
	}
	s.sent = u
	return nil
}
