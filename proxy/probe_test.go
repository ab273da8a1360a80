package proxy

import (
	"testing"

	"github.com/mtwire/mtwire/datacenter"
)

// The data centres are tried without Serve: those that answer, and one that does not.
func TestDataCentersCanBeTried(t *testing.T) {
	dc, _ := dataCenter(t)
	p := newProxy(t, Config{DataCenters: map[datacenter.DC][]string{0: {dc.String()}, 3: {"127.0.0.1:1"}}})
	probes := p.ProbeDataCenters(short(t))
	if len(probes) != 5 {
		t.Errorf("%d probes", len(probes))
	}
	for i, probe := range probes {
		answers := probe.DC != 3
		if probe.DC != datacenter.DC(i+1) || probe.Upstream != "direct" || probe.Duration <= 0 || (probe.Err == nil) != answers ||
			answers && probe.Address != dc.String() {
			t.Errorf("%+v", probe)
		}
	}
}
