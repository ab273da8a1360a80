package main

import (
	"strings"
	"testing"

	"github.com/mtwire/mtwire/interop/probes/probe"
)

// A site and mode is a row, which fails if a difference is not known.
func TestProbesAreRowsBySiteAndMode(t *testing.T) {
	rows := probeRows("active", []probe.Result{
		{Site: "nginx", Mode: probe.ModeEE, Probe: "a"},
		{Site: "nginx", Mode: probe.ModeEE, Probe: "b", Kinds: []probe.Kind{probe.KindTime}},
		{Site: "nginx", Mode: probe.ModeEEDD, Probe: "a", Kinds: []probe.Kind{probe.KindTime}, Unknown: []probe.Kind{probe.KindTime}},
		{Site: "nginx", Mode: probe.ModeEE, Probe: "c"},
	}, map[string]string{"nginx": "1.22.1"})
	if len(rows) != 2 {
		t.Fatalf("%+v", rows)
	}
	if r := rows[0]; r.Result != passed || r.Version != "1.22.1" || r.Case != "active, nginx, ee" || !strings.Contains(r.Note, "2 same, 1 known") {
		t.Errorf("%+v", r)
	}
	if r := rows[1]; r.Result != failed || !strings.Contains(r.Reason, ": a") {
		t.Errorf("%+v", r)
	}
}

// The probes run with all clients, and if they are asked for.
func TestProbesRunWithAllClientsOrOnRequest(t *testing.T) {
	for _, c := range []struct {
		o    options
		want bool
	}{
		{options{}, true},
		{options{only: []string{"gotd"}}, false},
		{options{only: []string{"gotd", "probes"}}, true},
		{options{only: []string{"gotd"}, probes: true}, true},
	} {
		if got := c.o.wantsProbes(); got != c.want {
			t.Errorf("%+v: %v", c.o, got)
		}
	}
}
