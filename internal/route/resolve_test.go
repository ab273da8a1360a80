package route

import (
	"errors"
	"testing"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
)

// The table is by signed number: media, test (10000 and more), and CDN (203).
func TestSignedNumberIsLookedUpInTheTable(t *testing.T) {
	r := router(t, Config{})
	for _, c := range []struct {
		dc    datacenter.DC
		first string
	}{
		{2, "149.154.167.51:443"},
		{-2, "149.154.167.222:443"},
		{-1, "149.154.175.50:443"},
		{10002, "149.154.167.40:443"},
		{-10002, "149.154.167.40:443"},
		{203, "91.105.192.100:443"},
	} {
		l, err := r.resolve(c.dc)
		if err != nil || l.dc != c.dc || l.addresses[0] != c.first {
			t.Errorf("DC %v: %v, %v", c.dc, l, err)
		}
	}
}

// An unknown number is refused or, with Config.Default, replaced by that number.
func TestUnknownNumberIsRefusedOrReplacedByTheDefault(t *testing.T) {
	refusing, fallback := router(t, Config{}), router(t, Config{Default: -4})
	for _, dc := range []datacenter.DC{0, 77, -77, 10009, -32768} {
		if l, err := refusing.resolve(dc); !errors.Is(err, ErrUnknownDC) {
			t.Errorf("DC %v: %v, %v", dc, l, err)
		}
		if l, err := fallback.resolve(dc); err != nil || l.dc != -4 || l.addresses[0] != "149.154.166.120:443" {
			t.Errorf("DC %v: %v, %v", dc, l, err)
		}
	}
	if l, err := fallback.resolve(2); err != nil || l.dc != 2 {
		t.Errorf("DC 2: %v, %v", l, err)
	}
	if _, err := refusing.Dial(t.Context(), Request{DC: 77, Protocol: frame.Abridged}); !errors.Is(err, ErrUnknownDC) || err.Error() != "DC 77: no data centre has this number" {
		t.Errorf("%v", err)
	}
}

// The configured addresses of the number come first, then those for all numbers,
// then those of the main data centre for a media number, then the table. The number
// does not change.
func TestConfiguredAddressesAreByNumberThenAllThenMain(t *testing.T) {
	some := router(t, Config{DataCenters: map[datacenter.DC][]string{4: {"main:1", "spare:1"}, -5: {"media:1"}}})
	all := router(t, Config{DataCenters: map[datacenter.DC][]string{4: {"main:1"}, 0: {"all:1"}}})
	for _, c := range []struct {
		r     *Router
		dc    datacenter.DC
		first string
	}{
		{some, 4, "main:1"},
		{some, -4, "main:1"},
		{some, -5, "media:1"},
		{some, 5, "149.154.171.5:443"},
		{some, 10004, ""},
		{all, 4, "main:1"},
		{all, -4, "all:1"},
		{all, 77, "all:1"},
		{all, 0, "all:1"},
	} {
		l, err := c.r.resolve(c.dc)
		if c.first == "" {
			if err == nil {
				t.Errorf("DC %v: %v", c.dc, l)
			}
			continue
		}
		if err != nil || l.dc != c.dc || l.addresses[0] != c.first {
			t.Errorf("DC %v: %v, %v, want %s", c.dc, l, err, c.first)
		}
	}
}
