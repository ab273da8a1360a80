package vectors_test

import (
	"fmt"

	"github.com/mtwire/mtwire/vectors"
)

func ExampleLoad() {
	cases, err := vectors.Load("framing")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, c := range cases {
		if c.Name != "abridged-one-word" {
			continue
		}
		about, _ := c.Get("about")
		wire, _ := c.Get("wire")
		fmt.Println(about)
		fmt.Println(wire, "has the packets", c.All("packet"))
	}
	// Output:
	// The shortest packet: one word.
	// 0111365b80 has the packets [payload 11365b80]
}
