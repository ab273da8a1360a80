package web

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/mtwire/mtwire/internal/admission"
)

// Bodies of visitors' requests, which the site's server may take as slowly as it likes: how
// long is its own affair, and how many there are at a time ours. At a limit the slowest one
// of the network that has most ends, as with connections of visitors.

// maxBodies is how many requests of visitors may send their bodies at a time, in total. One
// site (IPv4 /24) may have three quarters of them, and one address half.
const maxBodies = 1024

const (
	// bodyGrace is how long a body may stand still before it is first to make room.
	bodyGrace = 2 * time.Second
	// bodyStep is how many bytes are no standstill.
	bodyStep = 16 << 10
	// restTime is for a body that the site does not read. Package http reads it before it
	// sends the answer, and has no limit.
	restTime = 10 * time.Second
)

// shares returns the limits of networks of a total.
func shares(total int) admission.Limits {
	return admission.Limits{admission.Address: max(1, total/2), admission.Site: max(1, total/4*3), admission.Total: total}
}

// visitorBody is the body of a visitor's request.
type visitorBody struct {
	io.ReadCloser
	table   *admission.Table
	member  admission.Member
	control *http.ResponseController
	rest    time.Duration
	moved   int // since the last touch

	mu      sync.Mutex
	over    bool // the request has ended
	read    bool // to its end
	evicted bool
}

// bodyKey is the key of a visitorBody in its request's context.
type bodyKey struct{}

// serveBody serves a visitor's request that has a body.
func (s *Server) serveBody(site *Site, w http.ResponseWriter, r *http.Request) {
	b := &visitorBody{ReadCloser: r.Body, table: s.bodies, control: http.NewResponseController(w), rest: s.restTime}
	if !site.readsBodies {
		b.control.SetReadDeadline(time.Now().Add(b.rest))
	}
	s.bodies.Enter(&b.member, b, clientAddr(r), admission.Partial)
	defer b.end()
	// Package http looks at the body of its own request to see what is left unread.
	r = r.WithContext(context.WithValue(r.Context(), bodyKey{}, b))
	r.Body = b
	s.visit(site, w, r)
}

// Read reads a part of the body.
func (b *visitorBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.moved += n; b.moved >= bodyStep {
		b.moved = 0
		b.table.Touch(&b.member)
	}
	if err == io.EOF {
		b.table.Leave(&b.member)
		b.mu.Lock()
		b.read = true
		b.mu.Unlock()
	}
	return n, err
}

// end ends the membership. What is left of the body has a time limit.
func (b *visitorBody) end() {
	b.table.Leave(&b.member)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over = true; !b.read && !b.evicted {
		b.control.SetReadDeadline(time.Now().Add(b.rest))
	}
}

// Evict ends the request, to make room for another one.
func (b *visitorBody) Evict(*admission.EvictedError) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.over && !b.read {
		b.evicted = true
		b.control.SetReadDeadline(time.Unix(1, 0))
	}
}

// wasEvicted reports whether a request's body has made room for another one.
func wasEvicted(r *http.Request) bool {
	b, ok := r.Context().Value(bodyKey{}).(*visitorBody)
	if !ok {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.evicted
}

// HasUnread returns false: see Evictable.
func (b *visitorBody) HasUnread() bool { return false }
