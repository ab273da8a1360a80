package route

import (
	"context"
	"errors"
	"time"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
)

// A connection that is established proves little: a SOCKS5 proxy may report
// success and close, an MTProxy with another secret swallows what it receives. So
// the caller of Dial reports whether the first byte of the download has come.

// answerKey is what the health of answers is kept for. An MTProxy is one address
// for all data centres, and may take padded intermediate only.
type answerKey struct {
	address string // "" for the upstream as a whole
	dc      datacenter.DC
	padded  bool
}

// service is what a client asks an upstream for: the key of answers, without the
// address.
func (r *Request) service(dc datacenter.DC) answerKey {
	return answerKey{dc: dc, padded: r.Protocol == frame.PaddedIntermediate}
}

func (k answerKey) at(address string) answerKey {
	k.address = address
	return k
}

// maxAnswers limits the keys that an upstream has failures of. Clients choose the
// number of their data centre, so there may be thousands.
const maxAnswers = 1024

// answers is failures of connections that were established and not answered. Keys
// in good health have no entry.
type answers map[answerKey]*answerHealth

type answerHealth struct {
	health
	inRow int // unanswered connections, back-off or not
}

// of returns the health of a key, nil if it has no entry.
func (a answers) of(key answerKey) *health {
	if h := a[key]; h != nil {
		return &h.health
	}
	return nil
}

// fail counts an unanswered connection, from tolerated ones in a row on as a
// failure.
func (a answers) fail(key answerKey, tolerated int, now time.Time) {
	h := a[key]
	if h == nil {
		if len(a) >= maxAnswers {
			a.prune(now)
		}
		if len(a) >= maxAnswers {
			return
		}
		h = &answerHealth{}
		a[key] = h
	}
	if h.inRow++; h.inRow >= tolerated {
		h.health.fail(now)
	}
}

// prune drops the entries whose back-off is over.
func (a answers) prune(now time.Time) {
	for key, h := range a {
		if !h.failing(now) {
			delete(a, key)
		}
	}
}

// try begins a trial for a key whose back-off is over.
func (a answers) try(key answerKey, now time.Time) {
	if h := a[key]; h != nil {
		h.health.try(now)
	}
}

// dialled is what a Router needs to know of a connection when its first byte comes,
// or does not.
type dialled struct {
	ordering  *ordering
	candidate candidate
	dc        datacenter.DC // of the init payload
	request   Request
}

// errNoOther is the error of Upstream.Next when all candidates were tried.
var errNoOther = errors.New("no other address or upstream is left")

// Answered reports that the first byte of the download has come. Address and
// upstream are in good health then.
func (u *Upstream) Answered() {
	if d := u.dialled; d != nil {
		d.ordering.router.recordAnswer(d)
	}
}

// Unanswered reports that the connection has ended, or that an answer is overdue,
// before the first byte of the download. The address is then tried last for a
// while, as one that refuses connections, by clients of the same data centre; and
// so is the upstream if several addresses behind it do not answer.
//
// An error of this machine, or of the client, must not be reported.
func (u *Upstream) Unanswered() {
	if d := u.dialled; d != nil {
		d.ordering.router.recordNoAnswer(d)
	}
}

// Looped reports that the connection has come back to the caller. The upstream is
// tried last for a while, by all clients.
func (u *Upstream) Looped() {
	if d := u.dialled; d != nil {
		r := d.ordering.router
		r.mu.Lock()
		defer r.mu.Unlock()
		d.candidate.upstream.loops.fail(r.config.Time())
	}
}

// LeadsBack reports whether connections through the upstream have come back lately:
// see Looped.
func (u *Upstream) LeadsBack() bool {
	d := u.dialled
	if d == nil {
		return false
	}
	r := d.ordering.router
	r.mu.Lock()
	defer r.mu.Unlock()
	return d.candidate.upstream.loops.failing(r.config.Time())
}

// Next is the Dial that made u, among the candidates that were not tried: for a
// client whose connection was not answered. u stays as it is.
func (u *Upstream) Next(ctx context.Context) (*Upstream, error) {
	if u.dialled == nil {
		return nil, errNoOther
	}
	return u.dialled.ordering.router.dialNext(ctx, u.dialled)
}

// HasNext reports whether Next has a candidate in good health.
func (u *Upstream) HasNext() bool {
	return u.dialled != nil && u.dialled.ordering.hasHealthy()
}

func (r *Router) recordAnswer(d *dialled) {
	r.mu.Lock()
	defer r.mu.Unlock()
	u := d.candidate.upstream
	delete(u.answers, d.ordering.service.at(d.candidate.address))
	delete(u.answers, d.ordering.service)
	// Some connections may go round while others are answered: an upstream of this
	// upstream may be one of several.
	if u.loops.onTrial {
		u.loops.succeed()
	}
}

func (r *Router) recordNoAnswer(d *dialled) {
	r.mu.Lock()
	defer r.mu.Unlock()
	u, now := d.candidate.upstream, r.config.Time()
	u.answers.fail(d.ordering.service.at(d.candidate.address), 1, now)
	u.answers.fail(d.ordering.service, maxUpstreamFailures, now)
}

func (r *Router) dialNext(ctx context.Context, d *dialled) (*Upstream, error) {
	if !d.ordering.hasNext() {
		return nil, errNoOther
	}
	return r.dialOrdered(ctx, d.ordering, d.dc, d.request)
}
