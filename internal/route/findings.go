package route

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/mtwire/mtwire/datacenter"
)

// Finding is what a router has found out about an upstream, or about an address behind it:
// another process can begin with it. It has no credentials. As JSON it is part of the
// format of an upgrade: see docs/upgrade.md.
type Finding struct {
	// Upstream identifies the upstream, with its credentials and without its weight.
	Upstream string `json:"upstream"`
	// Address is an address behind it, "" for the upstream itself. Answers reports that
	// the finding is about answers of DC through it, to clients with padding or without.
	Address string        `json:"address,omitempty"`
	Answers bool          `json:"answers,omitempty"`
	DC      datacenter.DC `json:"dc,omitempty"`
	Padded  bool          `json:"padded,omitempty"`

	Health Health  `json:"health"`
	Loops  *Health `json:"loops,omitempty"` // of connections that came back; of an upstream
	// InRow is how many connections in a row have failed, or had no answer.
	InRow int `json:"in_row,omitempty"`
	// PaddedOnly reports whether an upstream takes no framing without padding.
	PaddedOnly bool `json:"padded_only,omitempty"`
}

// Health is failures in a row, with times in nanoseconds from the present.
type Health struct {
	Failures int           `json:"failures,omitempty"`
	Last     time.Duration `json:"last,omitempty"`  // since the last failure
	Until    time.Duration `json:"until,omitempty"` // until the end of the back-off, negative after it
	Trial    bool          `json:"trial,omitempty"` // that is the end of a trial
}

func (h *health) export(now time.Time) Health {
	if h.failures == 0 {
		return Health{}
	}
	return Health{h.failures, now.Sub(h.last), h.until.Sub(now), h.onTrial}
}

// restore makes h what export has returned in another process. What no process can have
// found, such as a back-off without end, is cut.
func (h *health) restore(found Health, now time.Time) {
	if found.Failures <= 0 {
		*h = health{}
		return
	}
	*h = health{found.Failures, now.Add(-max(found.Last, 0)), now.Add(min(found.Until, maxBackOff)), found.Trial}
}

// id identifies u among upstreams that differ in more than their weights.
func (u UpstreamURL) id() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "mtwire upstream\n%d\n%q\n%q\n%q\n%q\n%q\n",
		u.kind, u.proxy.Scheme, u.proxy.Server, u.proxy.User, u.proxy.Password, u.secret.String()))
	return base64.RawStdEncoding.EncodeToString(sum[:16])
}

// Findings returns what r has found out, without what is in good health.
func (r *Router) Findings() iter.Seq[Finding] {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.config.Time()
	var all []Finding
	for _, u := range r.upstreams {
		id := u.id()
		loops := u.loops.export(now)
		all = append(all, Finding{Upstream: id, Health: u.health.export(now), Loops: &loops, InRow: u.failures, PaddedOnly: u.paddedOnly})
		for address, h := range u.addressHealth {
			if h.failures > 0 {
				all = append(all, Finding{Upstream: id, Address: address, Health: h.export(now)})
			}
		}
		for key, h := range u.answers {
			all = append(all, Finding{
				Upstream: id, Address: key.address, Answers: true, DC: key.dc, Padded: key.padded, Health: h.export(now), InRow: h.inRow,
			})
		}
	}
	return slices.Values(all)
}

// Add makes r know a finding of another process. One about an upstream that r does not
// have is dropped, and so is one beyond the number that r may have.
func (r *Router) Add(f Finding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.config.Time()
	for _, u := range r.upstreams {
		if u.id() != f.Upstream {
			continue
		}
		key := answerKey{f.Address, f.DC, f.Padded}
		switch {
		case f.Answers && (u.answers[key] != nil || len(u.answers) < maxAnswers):
			h := &answerHealth{inRow: f.InRow}
			h.restore(f.Health, now)
			u.answers[key] = h
		case f.Answers:
		case f.Address != "" && (u.addressHealth[f.Address] != nil || len(u.addressHealth) < maxInherited):
			u.healthOf(f.Address).restore(f.Health, now)
		case f.Address == "":
			u.health.restore(f.Health, now)
			if f.Loops != nil {
				u.loops.restore(*f.Loops, now)
			}
			u.failures, u.paddedOnly = f.InRow, f.PaddedOnly
		}
	}
}
