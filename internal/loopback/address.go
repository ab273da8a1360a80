package loopback

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// addresses are those that FreeAddress has returned.
var addresses sync.Map

// FreeAddress returns a loopback address that no process listens on, and each only once.
// Its port is below those that systems choose for outgoing connections, which might take
// it before the test does.
func FreeAddress() (string, error) {
	var err error
	for range 100 {
		var ln net.Listener
		if ln, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(10_000+rand.N(20_000)))); err != nil {
			continue
		}
		address := ln.Addr().String()
		ln.Close()
		if _, used := addresses.LoadOrStore(address, true); !used {
			return address, nil
		}
	}
	return "", err
}
