package fronting

import (
	"errors"
	"testing"
	"time"
)

// New limits are for the next connections: those beyond them stay.
func TestNewLimitsAreForTheNextConnections(t *testing.T) {
	p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example", Address: serve(t, echo("hello"))}}, MaxPreconnected: 2})
	first, second := preconnect(t, p), preconnect(t, p)
	p.SetLimits(time.Second, 1, 1)
	if p.timeout() != time.Second {
		t.Errorf("the time limit of a dial is %v", p.timeout())
	}
	first.Close()
	if _, err := p.Preconnect(t.Context(), Client{}, nil); !errors.Is(err, ErrBusy) {
		t.Errorf("beyond the new limit: %v", err)
	}
	second.Close()
	preconnect(t, p).Close()
	p.SetLimits(0, 0, 0)
	if p.timeout() != DefaultDialTimeout || p.tunnels.limit.Load() != DefaultMaxTunnels || p.preconnects.limit.Load() != DefaultMaxPreconnected {
		t.Error("the defaults do not apply")
	}
}
