package detect_test

import (
	"fmt"

	"github.com/mtwire/mtwire/detect"
)

// The first bytes of three connections.
func ExampleFirst() {
	for _, first := range []string{"\xdd", "\xdd\xdd\xdd\xdd", "GET /apiws HTTP/1.1\r\n"} {
		switch r := detect.First([]byte(first), 0); r.Kind {
		case detect.More:
			fmt.Println("undecided: read until there are", r.Need, "bytes")
		case detect.Framed:
			fmt.Println(r.Protocol, "after a header of", r.Header, "bytes")
		default:
			fmt.Println(r.Kind)
		}
	}
	// Output:
	// undecided: read until there are 4 bytes
	// padded-intermediate after a header of 4 bytes
	// http
}
