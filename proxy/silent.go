package proxy

import (
	"context"
	"net"
	"os"
	"sync"
	"time"

	"github.com/mtwire/mtwire/internal/handshake"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/splice"
)

// goroutineTime is how long a client may be silent before its session gives its
// goroutine up. Clients open connections ahead of need, and others in order to
// exhaust the server; most clients send their first byte at once.
const goroutineTime = 200 * time.Millisecond

// awaitFirst waits for the client's first byte, and calls proceed with a handshake
// that has it, or with the error of the wait, perhaps before it returns. While the
// client is silent for long, the session has no goroutine, if there is a Poller.
func (s *session) awaitFirst(ctx context.Context, proceed func(h *handshake.Handshake, err error)) {
	begin := func() *handshake.Handshake {
		h := handshake.New(s.socket)
		if s.webStream() != nil {
			h.InStream()
		}
		return h
	}
	await := func() {
		h := begin()
		proceed(h, h.Await(ctx))
	}
	poller := s.proxy.relaying.Poller
	if poller == nil {
		await()
		return
	}
	if s.startsParked() {
		if !park(ctx, poller, s.socket, await) {
			s.proxy.workers.Go(await)
		}
		return
	}
	h := begin()
	err := h.AwaitFor(ctx, goroutineTime)
	if err != os.ErrDeadlineExceeded {
		proceed(h, err)
		return
	}
	h.Close()
	if !park(ctx, poller, s.socket, await) {
		await()
	}
}

// startsParked reports whether the session needs no goroutine before the client's first
// byte: such a socket in the poller costs less than a goroutine.
func (s *session) startsParked() bool {
	_, bare := s.socket.(*netx.Socket)
	return bare && s.proxy.relaying.Poller != nil
}

// park calls resume, once and in a goroutine of its own, when there is something to
// read from conn or ctx ends. It returns false, and does nothing, if conn cannot
// wait in the poller.
func park(ctx context.Context, poller *splice.Poller, conn net.Conn, resume func()) bool {
	var mu sync.Mutex // held until all that wake uses is set
	mu.Lock()
	defer mu.Unlock()
	var stopPoller func()
	var stopContext func() bool
	resumed := false
	wake := func() {
		mu.Lock()
		first := !resumed
		resumed = true
		mu.Unlock()
		if first {
			stopPoller()
			stopContext()
			resume()
		}
	}
	var ok bool
	if stopPoller, ok = poller.Await(conn, wake); ok {
		stopContext = context.AfterFunc(ctx, wake)
	}
	return ok
}
