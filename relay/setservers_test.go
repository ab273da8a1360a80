package relay

import (
	"errors"
	"testing"

	"github.com/mtwire/mtwire"
)

// A server that stays is known as before, one that is gone gets no more clients, and after an error
// nothing has changed.
func TestServersAreReplaced(t *testing.T) {
	at := func(address string) mtwire.Endpoint { return mtwire.Endpoint{Address: address} }
	r, err := New(Config{To: []mtwire.Endpoint{at("192.0.2.1:443"), at("192.0.2.2:443")}})
	if err != nil {
		t.Fatal(err)
	}
	first, second := r.endpoints.all[0], r.endpoints.all[1]
	r.endpoints.failed(second, 0, errors.New("refused"))
	if err := r.SetServers([]mtwire.Endpoint{at("192.0.2.2:443"), at("192.0.2.3:443")}, []int{3, 1}); err != nil {
		t.Fatal(err)
	}
	third := r.endpoints.take(nil, 0, 0)
	if third == first || third == second || third.Address != "192.0.2.3:443" {
		t.Errorf("%v is taken, not the one that has not failed", third.Address)
	}
	if next := r.endpoints.take([]*endpoint{first, third}, 0, 0); next != second || next.weight != 3 {
		t.Errorf("%+v is next", next)
	}
	for _, bad := range []struct {
		to      []mtwire.Endpoint
		weights []int
	}{{}, {to: []mtwire.Endpoint{{Address: "nowhere"}}}, {[]mtwire.Endpoint{at("192.0.2.1:443")}, []int{0}}, {[]mtwire.Endpoint{at("192.0.2.1:443")}, []int{1, 2}}} {
		if err := r.SetServers(bad.to, bad.weights); err == nil || len(r.endpoints.all) != 2 || r.endpoints.all[0] != second {
			t.Errorf("%v: %v, %d servers", bad, err, len(r.endpoints.all))
		}
	}
}
