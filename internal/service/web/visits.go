package web

import (
	"context"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/mtwire/mtwire/internal/admission"
	"github.com/mtwire/mtwire/internal/netx"
)

// Requests that the site answers at a time. Each may have a file open, or a connection to
// the server behind, and the proxy counts a visitor's connection as one, whatever HTTP/2
// carries in it. So one request of each connection is answered at any time, and further ones
// while there is room. More wait, and how many of these there are is limited, too, because
// of the memory of their headers. Both limits have shares for networks. A request that has
// waited for long makes the slowest further one of the network that has most end, as with
// bodies: a visitor that does not read its answers cannot have all others wait.
const (
	// maxVisits is how many requests of one connection are answered at a time.
	maxVisits = 16
	// mostFurther limits the further requests of all connections, which are an eighth of the
	// descriptors that the process may have.
	mostFurther = 4096
	// maxWaiting limits the requests that wait, in total. One site (IPv4 /24) may have three
	// quarters of them, and one address half; so it is with the further requests.
	maxWaiting = 2048
	// visitGrace is how long a request waits before others make room for it, or it for
	// others, and how long an answer may stand still before it is first to make room.
	visitGrace = 2 * time.Second
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

// furtherVisit is a request beside others of its connection, which is of HTTP/2, and where its
// answer goes.
type furtherVisit struct {
	http.ResponseWriter
	control           *http.ResponseController
	cancel            context.CancelFunc
	table             *admission.Table // of those that are answered
	waiting, answered admission.Member
	moved             int // since the last touch

	mu   sync.Mutex
	over bool // the request has ended
}

// Write writes a part of the answer.
func (f *furtherVisit) Write(b []byte) (int, error) {
	n, err := f.ResponseWriter.Write(b)
	if f.moved += n; f.moved >= bodyStep {
		f.moved = 0
		f.table.Touch(&f.answered)
	}
	return n, err
}

// Unwrap is for http.ResponseController.
func (f *furtherVisit) Unwrap() http.ResponseWriter { return f.ResponseWriter }

// Evict ends the request, to make room for another one.
func (f *furtherVisit) Evict(*admission.EvictedError) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.over {
		f.control.SetWriteDeadline(time.Unix(1, 0)) // the client may not read
	}
	f.cancel()
}

// HasUnread returns false: see admission.Evictable.
func (f *furtherVisit) HasUnread() bool { return false }

func (f *furtherVisit) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = true
	f.cancel()
}

// visit has the site answer a request, with a limit of those at a time. A web server in
// front may send all of its visitors' over one connection: these do not wait.
func (s *Server) visit(site *Site, w http.ResponseWriter, r *http.Request) {
	v, limited := r.Context().Value(visitsKey{}).(visits)
	if !limited {
		site.ServeHTTP(w, r)
		return
	}
	select {
	case v.first <- struct{}{}:
		defer v.leaveFirst()
		site.ServeHTTP(w, r)
	default:
		s.visitFurther(site, v, w, r)
	}
}

// visitFurther is visit for a request beside others of its connection.
func (s *Server) visitFurther(site *Site, v visits, w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	f := &furtherVisit{ResponseWriter: w, control: http.NewResponseController(w), cancel: cancel, table: s.further}
	defer f.end()
	leave, ok := s.enterVisit(ctx, v, f, clientAddr(r))
	if !ok {
		panic(http.ErrAbortHandler) // without an answer
	}
	defer leave()
	site.ServeHTTP(f, r.WithContext(ctx))
}

// enterVisit waits until f may be answered. It reports false if ctx ends before.
func (s *Server) enterVisit(ctx context.Context, v visits, f *furtherVisit, from netip.Addr) (leave func(), ok bool) {
	try := func() bool { return s.further.TryEnter(&f.answered, f, from, admission.Partial) }
	leave = func() { s.leaveFurther(v, f) }
	has := false // an element of v.further
	select {
	case v.further <- struct{}{}:
		if has = true; try() {
			return leave, true
		}
	default:
	}
	s.waiting.Enter(&f.waiting, f, from, admission.Partial)
	defer s.waiting.Leave(&f.waiting)
	if !has {
		select {
		case v.first <- struct{}{}:
			return v.leaveFirst, true
		case v.further <- struct{}{}:
		case <-ctx.Done():
			return nil, false
		}
	}
	late := time.NewTimer(visitGrace)
	defer late.Stop()
	freed := s.freed
	for !try() {
		select {
		case v.first <- struct{}{}:
			<-v.further
			return v.leaveFirst, true
		case <-freed:
			if !try() {
				freed = nil // its network has no room, which late makes
				s.wakeWaiting()
			}
		case <-late.C:
			s.further.Enter(&f.answered, f, from, admission.Partial)
			return leave, true
		case <-ctx.Done():
			<-v.further
			return nil, false
		}
	}
	s.wakeWaiting() // there may be room for more than one
	return leave, true
}

func (v visits) leaveFirst() { <-v.first }

func (s *Server) leaveFurther(v visits, f *furtherVisit) {
	s.further.Leave(&f.answered)
	<-v.further
	s.wakeWaiting()
}

// wakeWaiting has one of the requests that wait look for room.
func (s *Server) wakeWaiting() {
	select {
	case s.freed <- struct{}{}:
	default:
	}
}
