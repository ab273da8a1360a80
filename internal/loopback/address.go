package loopback

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// The ports of FreeAddress are below those that systems choose for outgoing connections,
// which might take one before the test does. They come in blocks: a process has a block for
// itself while it listens on its first port, because tests of several packages run at a time.
const (
	firstPort = 10_000
	blocks    = 200
	blockSize = 100
)

var block struct {
	sync.Mutex
	claims []net.Listener // of this process, until it ends
	next   int            // port of the last one
	end    int
}

// errNoPort means that other processes have all blocks.
var errNoPort = errors.New("no free port on loopback")

// FreeAddress returns a loopback address that no process listens on. It returns each only
// once, and so does no other process that gets its addresses here and runs at the same time.
func FreeAddress() (string, error) {
	block.Lock()
	defer block.Unlock()
	for {
		for ; block.next < block.end; block.next++ {
			ln, err := listenAt(block.next)
			if err != nil {
				continue
			}
			ln.Close()
			block.next++
			return ln.Addr().String(), nil
		}
		if err := claimBlock(); err != nil {
			return "", err
		}
	}
}

// claimBlock makes another block this process's. Under the mutex.
func claimBlock() error {
	for _, i := range rand.Perm(blocks) {
		first := firstPort + i*blockSize
		if ln, err := listenAt(first); err == nil {
			block.claims = append(block.claims, ln)
			block.next, block.end = first+1, first+blockSize
			return nil
		}
	}
	return errNoPort
}

func listenAt(port int) (net.Listener, error) {
	return net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
}
