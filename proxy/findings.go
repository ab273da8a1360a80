package proxy

import (
	"cmp"
	"encoding/json"
	"errors"
	"iter"
	"time"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/internal/keysearch"
)

// A proxy finds out how data centres and upstreams do, how fronting hosts answer, and which
// secrets the clients of an address have. A process that takes over begins with that.

// The parts of what a proxy has found out.
const (
	dataCenterPart = "data_center"
	upstreamPart   = "upstream"
	frontPart      = "front"
	addressPart    = "address"
)

// dataCenterFinding is the state of a data centre, with times in nanoseconds before the
// present.
type dataCenterFinding struct {
	DC       datacenter.DC   `json:"dc"`
	State    DataCenterState `json:"state,omitempty"`
	Cause    string          `json:"cause,omitempty"`
	Since    time.Duration   `json:"since,omitempty"`
	Sessions int             `json:"sessions,omitempty"`
	Heard    time.Duration   `json:"heard,omitempty"`
}

// Findings returns what the proxy has found out, as names of parts and elements for
// json.Marshal, for the Restorer of a proxy in another process: the state of data centres,
// the health of upstreams, the measurements of fronting hosts, and which secrets were used
// from which addresses. It has no credentials; secrets and upstreams are in it as hashes.
// docs/upgrade.md has the elements.
func (p *Proxy) Findings() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		for f := range p.fronts.Findings() {
			if !yield(frontPart, f) {
				return
			}
		}
		for f := range p.settings().router.Findings() {
			if !yield(upstreamPart, f) {
				return
			}
		}
		for _, s := range p.DataCenters() {
			f := dataCenterFinding{DC: s.DC, State: s.State, Sessions: s.Sessions, Since: since(s.Since), Heard: since(s.Heard)}
			if s.Cause != nil {
				f.Cause = s.Cause.Error()
			}
			if !yield(dataCenterPart, f) {
				return
			}
		}
		for f := range p.search.Findings() {
			if !yield(addressPart, f) {
				return
			}
		}
	}
}

// since returns how long ago t was, 0 for the zero time.
func since(t time.Time) time.Duration {
	if t.IsZero() {
		return 0
	}
	return max(time.Since(t), 1)
}

// Restorer makes a proxy know what another one has found out. It is for one goroutine.
type Restorer struct {
	proxy  *Proxy
	search *keysearch.Restorer // nil before the first address
}

// Restorer returns a Restorer for the users and upstreams that the proxy has now.
func (p *Proxy) Restorer() *Restorer { return &Restorer{proxy: p} }

// Add makes the proxy know an element of a part of Findings. What it has found out itself
// stays; findings about secrets, upstreams and hosts that it does not have are dropped. The
// error is about JSON that is no such element, or errors.ErrUnsupported for an unknown part.
func (r *Restorer) Add(part string, element []byte) error {
	p := r.proxy
	switch part {
	case frontPart:
		return add(element, p.fronts.Add)
	case upstreamPart:
		return add(element, p.settings().router.Add)
	case dataCenterPart:
		return add(element, p.dataCenters.add)
	case addressPart:
		if r.search == nil {
			r.search = p.search.Restorer()
		}
		return add(element, r.search.Add)
	}
	return errors.ErrUnsupported
}

func add[F any](element []byte, to func(F)) error {
	var f F
	err := json.Unmarshal(element, &f)
	if err == nil {
		to(f)
	}
	return err
}

// add makes the state of a data centre known that no session has asked for here. A failure
// that another process has traced is traced here when it ends.
func (d *dataCenters) add(f dataCenterFinding) {
	if f.State > Silent || f.Sessions < 0 {
		return
	}
	state, now := d.of(f.DC), d.now()
	state.mu.Lock()
	defer state.mu.Unlock()
	if state.down.Load() != 0 || state.failing.Load() || state.failed != 0 {
		return
	}
	if f.Heard > 0 {
		state.down.Store(cmp.Or(now-int64(f.Heard), -1)) // 0 means never
	}
	if f.State == Answering {
		return
	}
	c := &state.change
	c.State, c.Since, c.Sessions = f.State, time.Now().Add(-max(f.Since, 0)), f.Sessions
	if f.Cause != "" {
		c.Cause = errors.New(f.Cause)
	}
	state.failed, state.traced, state.tracedAt = now, true, now
	state.failing.Store(true)
}
