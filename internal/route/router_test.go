package route

import (
	"testing"

	"github.com/mtwire/mtwire/datacenter"
)

// New refuses a configuration that cannot work.
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
