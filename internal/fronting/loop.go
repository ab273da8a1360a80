package fronting

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"time"
)

// A proxy that its own fronting host leads back to would connect to itself for
// every connection that it makes. Addresses do not show it where they are
// translated on the way, so two things do. A probe has a mark that nobody can
// know before it is sent: if it comes back and the host says nothing, the host
// is this proxy. And a host that has said nothing on many connections is probed
// before it gets more, because in a loop nobody ever says anything.

const (
	// minUnheard is how many connections a host may have on which it has said
	// nothing, until a probe has heard from it: then it may have twice as many
	// as it has, again and again.
	minUnheard = 64

	// doubtEvery is how much time is between probes at least that strangers
	// cause and a host does not answer.
	doubtEvery = time.Minute

	// The mark is the random of the probe's ClientHello, behind the headers of
	// the record and of the message, and the version.
	//
	// Specification: https://www.rfc-editor.org/rfc/rfc8446#section-4.1.2
	markStart = recordHeader + 4 + 2
	markEnd   = markStart + 32
)

var (
	errLoop = errors.New("the fronting host's address is this proxy's own: say with --front where the site really is")
	errMute = errors.New("the fronting host says nothing, and gets no more connections until it does")
)

// finding is what a probe has found out.
type finding uint8

const (
	givenUp finding = iota // nothing: it was ended from here
	heard                  // the host has said something
	nothing                // it has not
)

// probing is a probe. Its fields are under the host's mu until it is settled.
type probing struct {
	mark    []byte // nil until it is sent
	echoed  bool   // it has come back
	finding finding
	settled chan struct{} // closed when finding is good
}

// begin returns a new probe, own then, or one that is not settled yet; nil if one
// has heard nothing a short time ago.
func (h *host) begin() (p *probing, own bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.probes) > 0 {
		return h.probes[0], false
	}
	if !h.doubted.IsZero() && time.Since(h.doubted) < doubtEvery {
		return nil, false
	}
	return h.beginAnother(), true
}

// beginAnother returns a probe. Under mu.
func (h *host) beginAnother() *probing {
	p := &probing{settled: make(chan struct{})}
	h.probes = append(h.probes, p)
	return p
}

// settle notes what a probe has found out, the first time that it is called.
func (h *host) settle(p *probing, what finding) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.Index(h.probes, p)
	if i < 0 {
		return
	}
	h.probes = slices.Delete(h.probes, i, i+1)
	switch p.finding = what; what {
	case heard: // it is there, and is somebody else
		h.looping, h.doubted = false, time.Time{}
		h.trusted = 2 * h.unheard
	case nothing:
		h.looping = h.looping || p.echoed
		h.doubted = time.Now()
	}
	close(p.settled)
}

// probeConn is a probe's connection.
type probeConn struct {
	net.Conn
	host  *host
	probe *probing
}

// Write has the mark known before it is sent.
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
		c.host.settle(c.probe, heard)
	}
	return n, err
}

// echo returns the probe of which this is the mark, nil if it is of none.
func (h *host) echo(mark []byte) *probing {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.probes {
		if bytes.Equal(p.mark, mark) {
			p.echoed = true
			return p
		}
	}
	return nil
}

// hold keeps a stranger that brings a probe's mark until it is known whether
// the host answers that probe. If it does, somebody has seen the probe and
// repeats it, and is to see the host like any other stranger.
func (f *Front) hold(ctx context.Context, first []byte) error {
	if len(first) < markEnd {
		return nil
	}
	for _, h := range f.hosts {
		p := h.echo(first[markStart:markEnd])
		if p == nil {
			continue
		}
		select {
		case <-p.settled:
		case <-ctx.Done():
			return ctx.Err()
		}
		if p.finding == nothing {
			return f.refuse(h, errLoop)
		}
	}
	return nil
}

// unheard is a connection to a host on which it has said nothing so far.
type unheard struct {
	host *host
	over atomic.Bool
}

// end is called when the host has said something, or the connection has ended.
func (u *unheard) end() {
	if u.over.Load() || u.over.Swap(true) {
		return
	}
	u.host.mu.Lock()
	defer u.host.mu.Unlock()
	u.host.unheard--
}

// admit counts a connection that is to be made to h. If that is one too many,
// it waits until h has been probed.
func (f *Front) admit(ctx context.Context, h *host) (*unheard, error) {
	for ctx.Err() == nil {
		if u := h.count(); u != nil {
			return u, nil
		}
		if err := f.check(ctx, h); err != nil && ctx.Err() == nil {
			return nil, f.refuse(h, err)
		}
	}
	return nil, ctx.Err()
}

func (h *host) count() *unheard {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.looping || h.unheard >= max(minUnheard, h.trusted) {
		return nil
	}
	h.unheard++
	return &unheard{host: h}
}

// check returns nil when a probe has heard from h, or was given up. It takes no
// longer than a host may take to be connected to.
func (f *Front) check(ctx context.Context, h *host) error {
	limit := time.NewTimer(f.config.DialTimeout)
	defer limit.Stop()
	p, own := h.begin()
	switch {
	case own:
		f.handshake(ctx, h, p, f.config.DialTimeout)
	case p != nil:
		select {
		case <-p.settled:
		case <-limit.C:
			p = nil
		case <-ctx.Done():
			p = nil
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case p != nil && p.finding != nothing:
		return nil
	case h.looping:
		return errLoop
	}
	return errMute
}

// refuse says why strangers get silence in place of h.
func (f *Front) refuse(h *host, err error) error {
	err = fmt.Errorf("fronting host %s: %w", h.Domain, err)
	f.complain(h, err)
	return err
}
