package obfuscation_test

import (
	"fmt"
	"io"
	"net"

	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/obfuscation"
)

// A client with a proxy's key opens a connection, and the proxy accepts it.
func Example() {
	key := [16]byte{1, 2, 3}
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		server, init, err := obfuscation.Accept(far, [][16]byte{key})
		if err != nil {
			panic(err)
		}
		packet := make([]byte, 4)
		io.ReadFull(server, packet)
		fmt.Printf("%v for DC %d, key %d: %x\n", init.Protocol, init.DC, init.Key, packet)
	}()
	client, err := obfuscation.Client(near, &obfuscation.ClientConfig{
		Protocol: frame.Intermediate, DC: 2, Key: &key,
	})
	if err != nil {
		panic(err)
	}
	client.Write([]byte{1, 2, 3, 4})
	<-done
	// Output: intermediate for DC 2, key 0: 01020304
}
