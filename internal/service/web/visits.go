package web

import (
	"context"

	"github.com/mtwire/mtwire/internal/netx"
)

// Requests that the site answers at a time. Each may have a file open, or a connection to
// the server behind, and the proxy counts a visitor's connection as one, whatever HTTP/2
// carries in it. So one request of each connection is answered at any time, and further ones
// while there is room: more wait.
const (
	// maxVisits is how many requests of one connection are answered at a time.
	maxVisits = 16
	// mostFurther limits the further requests of all connections, which are an eighth of the
	// descriptors that the process may have.
	mostFurther = 4096
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

// enter waits until a request may be answered, and reports false if ctx ends before. all has
// an element for each further request of all connections. The caller calls leave.
func (v visits) enter(ctx context.Context, all chan struct{}) (leave func(), ok bool) {
	first := func() { <-v.first }
	select {
	case v.first <- struct{}{}:
		return first, true
	default:
	}
	select {
	case v.first <- struct{}{}:
		return first, true
	case v.further <- struct{}{}:
	case <-ctx.Done():
		return nil, false
	}
	select {
	case v.first <- struct{}{}:
		<-v.further
		return first, true
	case all <- struct{}{}:
		return func() { <-all; <-v.further }, true
	case <-ctx.Done():
		<-v.further
		return nil, false
	}
}
