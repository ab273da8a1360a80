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
