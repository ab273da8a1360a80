package proxy

import (
	"net"
	"time"
)

// Trace is a set of hooks that run at stages of the proxy's work, as
// net/http/httptrace.ClientTrace. Any may be nil. They are called concurrently,
// from the goroutines that do the work, and must not block.
type Trace struct {
	// SearchSkipped is called when a client's secret was not searched for among
	// all secrets, because failed searches have used up their budget.
	SearchSkipped func(s Session)

	// Authenticated is called when a client is authenticated, before the data
	// centre.
	Authenticated func(s Session)

	// Refused is called when the policy does not admit a client, with the policy's
	// error. s.User is the client's user, for this call alone.
	Refused func(s Session, cause error)

	// Attempted is called at the end of each attempt to connect to a data centre,
	// of a session or of a probe, unless it was given up because another one was
	// faster, or the client has left.
	Attempted func(a Attempt)

	// Dialled is called when a session's data centre is connected, also each time
	// that the session is moved on to another address or upstream.
	Dialled func(s Session)

	// Unreachable is called when no connection to a session's data centre could be
	// made, for which err has the causes, or when there is no such data centre.
	Unreachable func(s Session, err error)

	// Answered is called with the first byte of the download, before it is sent to
	// the client.
	Answered func(s Session, a Answer)

	// TransportError is called when a session begins with a transport error from the
	// data centre. code is positive.
	TransportError func(s Session, code uint32)

	// DataCenterChanged is called when a data centre has become unreachable or
	// silent, and when it answers again. A data centre that fails again within a
	// minute after the last call is not reported before that minute is over.
	DataCenterChanged func(c DataCenterChange)

	// Unanswered is called when a session's data centre, once dialled, has not
	// answered in time, or its connection has ended before the first byte. The
	// client is moved on to the next address or upstream, if there is one. It is not
	// called for an upstream that leads back to the proxy: see Looped.
	Unanswered func(s Session, cause error)

	// Looped is called when a client's connection is one of the proxy's own, which
	// an upstream has led back to it. The session ends.
	Looped func(upstream string)

	// Stalled is called when the data centre has answered nothing for waited,
	// after bytes were sent to it; at most once for each session.
	Stalled func(s Session, waited time.Duration)

	// Evicted is called when an unauthenticated session is closed to make room for
	// another one. reason tells the limit, and the site (IPv4 /24, IPv6 /48) whose limit
	// it is, or that has the address whose limit it is.
	Evicted func(s Session, reason error)

	// AcceptDelayed is called each time that a listener cannot accept a
	// connection for want of a system resource.
	AcceptDelayed func(address net.Addr, err error)

	// Closed is called once for each session, at its end, with its last report.
	Closed func(s Session, r Report)
}

// traces calls each hook of several traces.
type traces []*Trace

func (all traces) searchSkipped(s Session) {
	for _, t := range all {
		if t.SearchSkipped != nil {
			t.SearchSkipped(s)
		}
	}
}

func (all traces) authenticated(s Session) {
	for _, t := range all {
		if t.Authenticated != nil {
			t.Authenticated(s)
		}
	}
}

func (all traces) refused(s Session, cause error) {
	for _, t := range all {
		if t.Refused != nil {
			t.Refused(s, cause)
		}
	}
}

func (all traces) attempted(a Attempt) {
	for _, t := range all {
		if t.Attempted != nil {
			t.Attempted(a)
		}
	}
}

func (all traces) answered(s Session, a Answer) {
	for _, t := range all {
		if t.Answered != nil {
			t.Answered(s, a)
		}
	}
}

func (all traces) transportError(s Session, code uint32) {
	for _, t := range all {
		if t.TransportError != nil {
			t.TransportError(s, code)
		}
	}
}

func (all traces) dialled(s Session) {
	for _, t := range all {
		if t.Dialled != nil {
			t.Dialled(s)
		}
	}
}

func (all traces) unreachable(s Session, err error) {
	for _, t := range all {
		if t.Unreachable != nil {
			t.Unreachable(s, err)
		}
	}
}

func (all traces) dataCenterChanged(c DataCenterChange) {
	for _, t := range all {
		if t.DataCenterChanged != nil {
			t.DataCenterChanged(c)
		}
	}
}

func (all traces) unanswered(s Session, cause error) {
	for _, t := range all {
		if t.Unanswered != nil {
			t.Unanswered(s, cause)
		}
	}
}

func (all traces) looped(upstream string) {
	for _, t := range all {
		if t.Looped != nil {
			t.Looped(upstream)
		}
	}
}

func (all traces) stalled(s Session, waited time.Duration) {
	for _, t := range all {
		if t.Stalled != nil {
			t.Stalled(s, waited)
		}
	}
}

func (all traces) evicted(s Session, reason error) {
	for _, t := range all {
		if t.Evicted != nil {
			t.Evicted(s, reason)
		}
	}
}

func (all traces) acceptDelayed(address net.Addr, err error) {
	for _, t := range all {
		if t.AcceptDelayed != nil {
			t.AcceptDelayed(address, err)
		}
	}
}

func (all traces) closed(s Session, r Report) {
	for _, t := range all {
		if t.Closed != nil {
			t.Closed(s, r)
		}
	}
}
