package web

import (
	"context"
	"net/http"
	"time"

	"github.com/mtwire/mtwire/internal/admission"
	"github.com/mtwire/mtwire/internal/netx"
)

// Requests that the site answers at a time. Each may have a file open, or a connection to
// the server behind, and the proxy counts a visitor's connection as one, whatever HTTP/2
// carries in it. So one request of each connection is answered at any time, and further ones
// while there is room. More wait, and how many of these there are is limited, too, because
// of the memory of their headers: those of the network that has most make room.
const (
	// maxVisits is how many requests of one connection are answered at a time.
	maxVisits = 16
	// mostFurther limits the further requests of all connections, which are an eighth of the
	// descriptors that the process may have.
	mostFurther = 4096
	// maxWaiting limits the requests that wait, in total. One site (IPv4 /24) may have three
	// quarters of them, and one address half.
	maxWaiting = 2048
	// waitGrace is how long one waits before it is first to make room.
	waitGrace = 2 * time.Second
)

// maxFurther returns how many further requests of all connections are answered at a time.
func maxFurther() int { return max(maxVisits, min(mostFurther, netx.MaxDescriptors()/8)) }

// visits is the requests of a visitor's connection that the site is answering: an element
// for each.
type visits struct{ first, further chan struct{} }

// visitsKey is the key of a connection's visits in its context.
type visitsKey struct{}

func newVisits() visits {
	return visits{make(chan struct{}, 1), make(chan struct{}, maxVisits-1)}
}

// try is enter, if that need not wait.
func (v visits) try(all chan struct{}) (leave func(), ok bool) {
	select {
	case v.first <- struct{}{}:
		return v.leaveFirst, true
	default:
	}
	select {
	case v.further <- struct{}{}:
	default:
		return nil, false
	}
	select {
	case all <- struct{}{}:
		return func() { v.leaveFurther(all) }, true
	default:
		<-v.further
		return nil, false
	}
}

// enter waits until a request may be answered, and reports false if ctx ends before. all has
// an element for each further request of all connections. The caller calls leave.
func (v visits) enter(ctx context.Context, all chan struct{}) (leave func(), ok bool) {
	select {
	case v.first <- struct{}{}:
		return v.leaveFirst, true
	case v.further <- struct{}{}:
	case <-ctx.Done():
		return nil, false
	}
	select {
	case v.first <- struct{}{}:
		<-v.further
		return v.leaveFirst, true
	case all <- struct{}{}:
		return func() { v.leaveFurther(all) }, true
	case <-ctx.Done():
		<-v.further
		return nil, false
	}
}

func (v visits) leaveFirst() { <-v.first }

func (v visits) leaveFurther(all chan struct{}) {
	<-all
	<-v.further
}

// waiting is a request that waits.
type waiting struct {
	member admission.Member
	cancel context.CancelFunc
}

// Evict ends the request, to make room for another one.
func (w *waiting) Evict(*admission.EvictedError) { w.cancel() }

// HasUnread returns false: see admission.Evictable.
func (w *waiting) HasUnread() bool { return false }

// enterVisit waits until the request of a visitor may be answered. It reports false if the
// request ends before.
func (s *Server) enterVisit(v visits, r *http.Request) (leave func(), ok bool) {
	if leave, ok = v.try(s.further); ok {
		return leave, true
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	w := &waiting{cancel: cancel}
	s.waiting.Enter(&w.member, w, clientAddr(r), admission.Partial)
	defer s.waiting.Leave(&w.member)
	return v.enter(ctx, s.further)
}
