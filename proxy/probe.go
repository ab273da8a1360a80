package proxy

import (
	"context"
	"slices"
	"time"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/internal/route"
	"github.com/mtwire/mtwire/mtproxy"
)

// Probe is the result of trying a data centre over an upstream: see
// Proxy.ProbeDataCenters.
type Probe struct {
	DC datacenter.DC
	// Upstream is "direct", or the upstream without credentials.
	Upstream string
	// Address is the address that answered, of the data centre, or of the upstream
	// if that is an MTProxy.
	Address string
	// Duration is the time from the first attempt to the answer or the error.
	Duration time.Duration
	// Connected reports whether a connection was established, and Err is nil if the
	// data centre has answered on it. It has no credentials. An MTProxy that connects
	// and does not answer probably has another secret.
	Connected bool
	Err       error
}

// ProbeDataCenters sends the first message of a client, without a key, to each main
// data centre and to those in Config.DataCenters, over each upstream, and returns when
// all have answered or failed, or when ctx ends. It needs no Serve.
//
// The results are ordered by data centre, and for one data centre as the upstreams are
// configured.
func (p *Proxy) ProbeDataCenters(ctx context.Context) []Probe {
	probes := make([]Probe, 0, 5)
	for _, probe := range p.settings().router.Probe(ctx) {
		probes = append(probes, Probe(probe))
	}
	return probes
}

// ProbeAny probes one data centre over one upstream after the other, in the order of
// ProbeDataCenters, the next one if one fails or takes longer than a second. It returns
// nil as soon as one has answered, and otherwise the errors of all. It needs no Serve.
func (p *Proxy) ProbeAny(ctx context.Context) error { return p.settings().router.ProbeAny(ctx) }

// ProbeClassic asks each MTProxy upstream that has answered in probes, the result of
// ProbeDataCenters, whether it takes classic clients, if users may have them. It
// returns those that take dd and ee clients only. Classic clients use the other
// upstreams from then on; if all reports that there is none, they are refused, and
// Stats.RefusedFraming counts them. It needs no Serve, and returns when ctx ends.
func (p *Proxy) ProbeClassic(ctx context.Context, probes []Probe) (padded []string, all bool) {
	if !p.users.Load().allowsClassic() {
		return nil, false
	}
	results := make([]route.Probe, len(probes))
	for i, probe := range probes {
		results[i] = route.Probe(probe)
	}
	return p.settings().router.ProbeClassic(ctx, results)
}

// allowsClassic reports whether a user may have classic clients.
func (n *snapshot) allowsClassic() bool {
	return slices.ContainsFunc(n.secrets, func(s userSecret) bool { return s.modes&mtproxy.Classic != 0 })
}
