package proxy

import (
	"context"
	"time"

	"github.com/mtwire/mtwire/datacenter"
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
	// Err is nil if the data centre has answered. It has no credentials.
	Err error
}

// ProbeDataCenters sends the first message of a client, without a key, to each main
// data centre and to those in Config.DataCenters, over each upstream, and returns when
// all have answered or failed, or when ctx ends. It needs no Serve.
//
// The results are ordered by data centre, and for one data centre as the upstreams are
// configured.
func (p *Proxy) ProbeDataCenters(ctx context.Context) []Probe {
	probes := make([]Probe, 0, 5)
	for _, probe := range p.router.Probe(ctx) {
		probes = append(probes, Probe(probe))
	}
	return probes
}
