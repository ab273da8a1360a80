package datacenter_test

import (
	"fmt"

	"github.com/mtwire/mtwire/datacenter"
)

// The media side of data centre 4: its first address and its WebSocket URL.
func ExampleLookup() {
	dc, _ := datacenter.Lookup(-4)
	fmt.Println(dc.DC.Describe(), "at", dc.IPv4[0], "and", dc.WebSocketURL())
	// Output: DC 4, media at 149.154.166.120:443 and wss://vesta-1.web.telegram.org/apiws
}

// All addresses on port 443 come first, and IPv6 before IPv4 on each port.
func ExampleLocation_Addresses() {
	dc, _ := datacenter.Lookup(1)
	for _, address := range dc.Addresses(datacenter.PreferIPv6)[:3] {
		fmt.Println(address)
	}
	// Output:
	// [2001:b28:f23d:f001::a]:443
	// 149.154.175.50:443
	// [2001:b28:f23d:f001::a]:80
}
