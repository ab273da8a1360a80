package route

import (
	"errors"
	"testing"

	"github.com/mtwire/mtwire/datacenter"
)

// "direct to the DC by signed id; media, test (10000+), CDN 203".
func TestTableIsAskedBySignedNumber(t *testing.T) {
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
		p, err := r.place(c.dc)
		if err != nil || p.dc != c.dc || p.addresses[0] != c.first {
			t.Errorf("DC %v: %v, %v", c.dc, p, err)
		}
	}
}

// "refuse or default for unknown DC ids, by option": the default's number goes
// on in place of the one that came.
func TestUnknownNumbersAreRefusedOrGoToTheDefault(t *testing.T) {
	refusing, fallback := router(t, Config{}), router(t, Config{Default: -4})
	for _, dc := range []datacenter.DC{0, 77, -77, 10009, -32768} {
		if p, err := refusing.place(dc); !errors.Is(err, ErrUnknownDC) {
			t.Errorf("DC %v: %v, %v", dc, p, err)
		}
		if p, err := fallback.place(dc); err != nil || p.dc != -4 || p.addresses[0] != "149.154.166.120:443" {
			t.Errorf("DC %v: %v, %v", dc, p, err)
		}
	}
	if p, err := fallback.place(2); err != nil || p.dc != 2 {
		t.Errorf("DC 2: %v, %v", p, err)
	}
	if _, err := refusing.Dial(t.Context(), 77, 1, nil); !errors.Is(err, ErrUnknownDC) || err.Error() != "DC 77: no data centre has this number" {
		t.Errorf("%v", err)
	}
}

// The exact number goes first, then what stands for all, then for media the
// main data centre's place, then the table. The number stays what it was.
func TestConfiguredPlacesGoByNumberThenAllThenMain(t *testing.T) {
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
		p, err := c.r.place(c.dc)
		if c.first == "" {
			if err == nil {
				t.Errorf("DC %v: %v", c.dc, p)
			}
			continue
		}
		if err != nil || p.dc != c.dc || p.addresses[0] != c.first {
			t.Errorf("DC %v: %v, %v, want %s", c.dc, p, err, c.first)
		}
	}
}

// A configuration that cannot work is refused before anybody connects.
func TestBadConfigurationsAreRefused(t *testing.T) {
	for name, config := range map[string]Config{
		"no address":      {DataCenters: map[datacenter.DC][]string{2: {}}},
		"no port":         {DataCenters: at("127.0.0.1")},
		"port 0":          {DataCenters: at("127.0.0.1:0")},
		"a named port":    {DataCenters: at("127.0.0.1:https")},
		"no host":         {DataCenters: at(":443")},
		"a bare IPv6":     {DataCenters: at("2001:db8::1")},
		"a line break":    {DataCenters: at("a\nb:443")},
		"unknown default": {Default: 77},
		"unknown family":  {Family: 9},
	} {
		if _, err := New(config); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
