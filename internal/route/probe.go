package route

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/netx"
)

// Probe is the result of trying a data centre over an upstream.
type Probe struct {
	DC datacenter.DC
	// Upstream is "direct", or the upstream's URL without credentials.
	Upstream string
	// Address is the one that answered, and Duration the time from the first
	// attempt to the answer.
	Address  string
	Duration time.Duration
	// Connected reports whether a connection was established, and Err is nil if the
	// data centre has answered on it. An MTProxy that connects and does not answer
	// probably has another secret.
	Connected bool
	Err       error
}

const (
	// maxProbes limits the probes at one time.
	maxProbes = 32
	// maxProbed is the number of addresses whose connections a probe asks.
	maxProbed = 3
)

// ProbedDCs returns the data centres that Probe tries: the main ones of the public
// table, and those in Config.DataCenters.
func (r *Router) ProbedDCs() []datacenter.DC {
	dcs := []datacenter.DC{1, 2, 3, 4, 5}
	for dc := range r.config.DataCenters {
		if dc != 0 && !slices.Contains(dcs, dc) {
			dcs = append(dcs, dc)
		}
	}
	slices.Sort(dcs)
	return dcs
}

// Probe sends req_pq_multi, the first message of any client, to each of ProbedDCs over
// each upstream, and waits for the answers: a connection alone proves little, because
// a proxy may accept it without reaching the data centre. The results are ordered by
// data centre, and those of one data centre as the upstreams are configured.
func (r *Router) Probe(ctx context.Context) []Probe {
	var probes []Probe
	dcs := r.ProbedDCs()
	for _, dc := range dcs {
		for _, u := range r.upstreams {
			probes = append(probes, Probe{DC: dc, Upstream: u.String()})
		}
	}
	var running sync.WaitGroup
	slots := make(chan struct{}, maxProbes)
	for i := range probes {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			p := &probes[i]
			start := time.Now()
			p.Address, p.Connected, p.Err = r.probe(ctx, p.DC, r.upstreams[i%len(r.upstreams)], frame.PaddedIntermediate)
			p.Duration = time.Since(start)
		})
	}
	running.Wait()
	return probes
}

// probeStagger is the time from the start of one of ProbeAny's probes to the next.
const probeStagger = time.Second

// ProbeAny probes one data centre over one upstream after the other, as Probe does and
// in its order, the next one if one fails or takes longer than a second, until one has
// answered. It returns nil then, and otherwise the errors of all.
func (r *Router) ProbeAny(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	dcs := r.ProbedDCs()
	results := make(chan error, len(dcs)*len(r.upstreams))
	next := time.NewTicker(probeStagger)
	defer next.Stop()
	var failed attemptErrors
	for started := 0; len(failed) < cap(results); {
		if started < cap(results) {
			dc, u := dcs[started/len(r.upstreams)], r.upstreams[started%len(r.upstreams)]
			started++
			running.Go(func() {
				_, _, err := r.probe(ctx, dc, u, frame.PaddedIntermediate)
				if err != nil {
					err = fmt.Errorf("%s: %w", dc.Describe(), err)
				}
				results <- err
			})
			next.Reset(probeStagger)
		}
		select {
		case err := <-results:
			if err == nil {
				return nil
			}
			failed = append(failed, err)
		case <-next.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return failed
}

// ProbeClassic asks each MTProxy of probes, the result of Probe, perhaps by the router
// before r (see Inherit), that has answered once more, in a framing without padding: it may take dd and ee clients only. It returns
// those upstreams, which Dial does not use for other clients from then on, and whether
// there is no other upstream.
func (r *Router) ProbeClassic(ctx context.Context, probes []Probe) (padded []string, all bool) {
	var running sync.WaitGroup
	for _, u := range r.upstreams {
		if !u.IsMTProxy() {
			continue
		}
		answered := func(p Probe) bool { return p.Err == nil && p.Upstream == u.String() }
		if i := slices.IndexFunc(probes, answered); i >= 0 {
			running.Go(func() { r.probeClassic(ctx, probes[i].DC, u) })
		}
	}
	running.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range r.upstreams {
		if u.paddedOnly {
			padded = append(padded, u.String())
		}
	}
	return padded, len(padded) == len(r.upstreams)
}

// probeClassic asks u once more if it does not answer: a loss would refuse clients. One that
// cannot be connected to, as while it restarts, has not refused anything.
func (r *Router) probeClassic(ctx context.Context, dc datacenter.DC, u *upstreamState) {
	_, connected, err := r.probe(ctx, dc, u, frame.Intermediate)
	if err != nil {
		_, connected, err = r.probe(ctx, dc, u, frame.Intermediate)
	}
	if ctx.Err() != nil || err != nil && !connected {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	u.paddedOnly = err != nil
}

// probe returns the first address of dc that answers over u, in that framing.
// connected reports whether u could be connected to.
func (r *Router) probe(ctx context.Context, dc datacenter.DC, u *upstreamState, protocol frame.Protocol) (address string, connected bool, err error) {
	location, err := r.resolve(dc)
	if err != nil {
		return "", false, err
	}
	request := Request{DC: dc, Protocol: protocol}
	o := r.newOrdering(location, answerKey{})
	o.upstreams = append(o.upstreams, u)
	var failed attemptErrors
	if !u.leadsTo(location.dc) {
		return "", false, errNotVia
	}
	for range maxProbed {
		h := happyEyeballs{router: r, dc: location.dc, ordering: o, results: make(chan *attempt, maxAttempts)}
		winner, err := h.run(ctx)
		if err != nil {
			if err.Error() != "" { // there were addresses left
				failed = append(failed, err)
			}
			connected = connected || h.accepted
			break
		}
		connected = true
		upstream, err := r.newUpstream(winner, location.dc, request)
		if err == nil {
			err = r.ask(ctx, upstream.Stream, protocol)
		}
		winner.conn.Close()
		if err == nil {
			return winner.address, true, nil
		}
		if ctx.Err() != nil {
			break
		}
		winner.err = err
		failed = append(failed, winner.describe())
	}
	if ctx.Err() != nil {
		return "", connected, context.Cause(ctx)
	}
	return "", connected, failed
}

// ask sends req_pq_multi, and returns nil if the answer has its nonce.
func (r *Router) ask(ctx context.Context, stream *Stream, protocol frame.Protocol) (err error) {
	ctx, cancel := context.WithTimeout(ctx, r.config.DialTimeout)
	defer cancel()
	conn := stream.Conn
	i := netx.Interrupt(ctx, conn.SetDeadline)
	defer func() {
		if i.Finish() != nil {
			err = errTimeout
		}
	}()
	if stream.FakeTLS {
		conn = faketls.NewConn(conn, frame.Client)
	}
	request, nonce := reqPQ()
	encoder := frame.Encoder{Protocol: protocol, From: frame.Client}
	packet, err := encoder.Append(nil, frame.Packet{Payload: request})
	if err != nil {
		return err
	}
	stream.Send.XORKeyStream(packet, packet)
	if _, err := conn.Write(append(stream.Init, packet...)); err != nil {
		return err
	}
	answer, err := readPacket(conn, stream, protocol)
	if err != nil {
		return err
	}
	// resPQ has the nonce where req_pq_multi has it.
	if p := answer.Payload; len(p) < len(request) || [16]byte(p[len(request)-16:]) != nonce {
		return errNoAnswer
	}
	return nil
}

var (
	errNotVia   = errors.New("the upstream does not lead there")
	errNoAnswer = errors.New("what came back is no answer to the request")
	errEnded    = errors.New("the connection was closed before an answer")
	errTimeout  = errors.New("no answer in time")
)

// maxAnswer limits the length of an answer with its padding: resPQ has about 100
// bytes.
const maxAnswer = 4 << 10

// readPacket reads the first packet of the download.
func readPacket(conn net.Conn, stream *Stream, protocol frame.Protocol) (frame.Packet, error) {
	decoder := frame.Decoder{Protocol: protocol, From: frame.Server, MaxLength: maxAnswer}
	buffer, filled := make([]byte, maxAnswer+64), 0
	for {
		n, err := conn.Read(buffer[filled:])
		stream.Receive.XORKeyStream(buffer[filled:filled+n], buffer[filled:filled+n])
		filled += n
		p, _, invalid := decoder.Parse(buffer[:filled])
		switch {
		case invalid == nil:
			return p, p.Err()
		case !errors.Is(invalid, frame.ErrIncomplete):
			return p, errNoAnswer
		case err == io.EOF:
			return p, errEnded
		case err != nil:
			return p, err
		}
	}
}

// reqPQ returns req_pq_multi with a random nonce, as an unencrypted message.
//
// Specification: https://core.telegram.org/mtproto/auth_key#dh-exchange-initiation
func reqPQ() (message []byte, nonce [16]byte) {
	rand.Read(nonce[:])
	message = make([]byte, 8, 40) // no key
	message = binary.LittleEndian.AppendUint64(message, uint64(time.Now().Unix())<<32)
	message = binary.LittleEndian.AppendUint32(message, 20)
	message = binary.LittleEndian.AppendUint32(message, 0xbe7e8ef1)
	return append(message, nonce[:]...), nonce
}
