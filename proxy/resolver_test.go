package proxy

import (
	"fmt"
	"net"
	"testing"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/mtwiretest"
)

// Any number of clients costs one lookup of a data centre's name, and one of a
// fronting host's. When the resolver fails, both are reached all the same.
func TestHostNamesAreLookedUpOnce(t *testing.T) {
	dns, err := loopback.ListenDNS()
	if err != nil {
		t.Fatal(err)
	}
	defer dns.Close()
	before := net.DefaultResolver
	net.DefaultResolver = dns.Resolver()
	t.Cleanup(func() { net.DefaultResolver = before })

	host, visits := frontingHost(t)
	dc, _ := dataCenter(t)
	named := func(name, address string) string {
		_, port, _ := net.SplitHostPort(address)
		return fmt.Sprintf("%s.test.:%s", name, port)
	}
	address := start(t, Config{
		Fronts:      map[string]Front{"": {Address: named("site", host)}},
		DataCenters: map[datacenter.DC][]string{2: {named("dc", dc.String())}},
	})
	visit := func() {
		for range 10 {
			join(t, address, "protocol=intermediate&secret="+mtwiretest.PlainSecret)
			fronted(t, address, visits, []byte("GET / HTTP/1.0\r\n\r\n"))
		}
	}
	visit()
	if n := dns.Queries(); n > 4 {
		t.Errorf("%d queries for two names and two address families", n)
	}
	dns.Fail()
	visit()
}
