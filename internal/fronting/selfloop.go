package fronting

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/mtwire/mtwire/internal/proxyprotocol"
)

// Self-connection detection. If a fronting host's address leads back to this
// proxy, every connection to the host creates another one. Comparing addresses
// fails behind address translation, so there are two checks:
//
//   - A probe has a mark: the random of its ClientHello, which is unpredictable.
//     If the mark comes back to this proxy and the host does not answer the
//     probe, the host is this proxy.
//   - A host with many connections that it never answered is probed before it
//     gets more, because in a loop no side ever sends a first answer: see
//     unanswered.go.

const (
	// probeBackoff is the minimum time from a probe without an answer to the
	// next one that is made for a client.
	probeBackoff = time.Minute

	// The mark is behind the record header, the message header and the version.
	//
	// Specification: https://www.rfc-editor.org/rfc/rfc8446#section-4.1.2
	markStart = recordHeaderLength + 4 + 2
	markEnd   = markStart + 32
)

// Why a host is unusable: the predicate of host.unusable's message.
var (
	errLoop   = errors.New("is this proxy itself; set the site's real address with --front")
	errSilent = errors.New("does not respond; new connections are paused until it does")
)

// unusable wraps errLoop or errSilent.
func (h *host) unusable(err error) error { return fmt.Errorf("fronting host %s %w", h.Domain, err) }

// verdict is the result of a probe.
type verdict uint8

const (
	abandoned verdict = iota // none: the probe's context ended
	alive                    // the host has answered
	silent                   // the host has not answered
)

// probe is the state of one probe. host.mu guards its fields until it is settled.
type probe struct {
	ofClient bool   // the hello is like a client's, which the host may ignore
	mark     []byte // nil until it is sent
	returned bool   // the mark has come back to this proxy
	verdict  verdict
	local    error         // why this machine could not make the probe, which is abandoned then
	settled  chan struct{} // closed when verdict is final
}

// startProbe returns a probe and reports whether it is new, to be run by the
// caller, or already running. It returns nil within probeBackoff after a probe
// without an answer.
func (h *host) startProbe() (pr *probe, isNew bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.probes) > 0 {
		return h.probes[0], false
	}
	if !h.failed.IsZero() && time.Since(h.failed) < probeBackoff {
		return nil, false
	}
	return h.addProbe(), true
}

// newProbe returns a new probe, whether or not another one is running.
func (h *host) newProbe() *probe {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.addProbe()
}

// addProbe returns a new probe. Under mu.
func (h *host) addProbe() *probe {
	pr := &probe{settled: make(chan struct{})}
	h.probes = append(h.probes, pr)
	return pr
}

// settle sets the verdict of pr. Further calls do nothing.
func (h *host) settle(pr *probe, v verdict) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.Index(h.probes, pr)
	if i < 0 {
		return
	}
	h.probes = slices.Delete(h.probes, i, i+1)
	if v == silent && pr.ofClient && !pr.returned {
		v = abandoned
	}
	switch pr.verdict = v; v {
	case alive: // and thus not this proxy
		h.isProxy, h.failed = false, time.Time{}
		h.allowance = 2 * h.unanswered
	case silent:
		h.isProxy = h.isProxy || pr.returned
		h.failed = time.Now()
	}
	close(pr.settled)
}

// probeConn is a probe's connection.
type probeConn struct {
	net.Conn
	host  *host
	probe *probe
}

// Write stores the mark before it sends it, since it may come back at once.
func (c *probeConn) Write(b []byte) (int, error) {
	c.host.mu.Lock()
	if c.probe.mark == nil && len(b) >= markEnd {
		c.probe.mark = bytes.Clone(b[markStart:markEnd])
	}
	c.host.mu.Unlock()
	return c.Conn.Write(b)
}

func (c *probeConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.host.settle(c.probe, alive)
	}
	return n, err
}

// probeReturned marks the probe with that mark as returned, and returns it; nil
// if there is none.
func (h *host) probeReturned(mark []byte) *probe {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, pr := range h.probes {
		if bytes.Equal(pr.mark, mark) {
			pr.returned = true
			return pr
		}
	}
	return nil
}

// delay blocks a client that sent the mark of a probe until it is known whether
// the host answers the probe. If the host answers, the client is an observer that
// replays the probe's ClientHello, and is tunneled like any other client. The mark
// may be behind the PROXY protocol header of the probe's connection.
func (p *Pool) delay(ctx context.Context, first []byte) error {
	first = proxyprotocol.Trim(first)
	if len(first) < markEnd {
		return nil
	}
	for _, h := range p.hosts.Load().hosts {
		pr := h.probeReturned(first[markStart:markEnd])
		if pr == nil {
			continue
		}
		select {
		case <-pr.settled:
		case <-ctx.Done():
			return ctx.Err()
		}
		if pr.verdict == silent {
			return p.refuse(h, errLoop)
		}
	}
	return nil
}

// refuse returns the error of a client that is not connected to h, and warns.
func (p *Pool) refuse(h *host, err error) error {
	err = h.unusable(err)
	p.warn(h, err)
	return err
}
