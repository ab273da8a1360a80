package faults_test

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/tools/loadgen"
)

// fewFiles is the number of descriptors that a proxy under test may have.
const fewFiles = 64

// startWithFewFiles starts a program with fewFiles descriptors, and connects five
// clients.
func startWithFewFiles(t *testing.T, m mode) (*program, []*loadgen.Client) {
	dc := startDataCenter(t, listen(t))
	p := startProgram(t, "", fileLimit{fewFiles, fewFiles}, flagsFor(m, dc, newFrontingHost(t))...)
	var clients []*loadgen.Client
	for range 5 {
		clients = append(clients, mustDial(t, m, p.address, 2, nil))
	}
	return p, clients
}

// Silent connections, even of a client's own address and more than there are
// descriptors, leave enough of them for clients: those that are connected go on,
// and new ones are served.
func TestSilentConnectionsLeaveDescriptorsForClients(t *testing.T) {
	t.Parallel()
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			p, clients := startWithFewFiles(t, m)
			before, _ := p.descriptors()
			silent := openSilent(t, p.address, 2*fewFiles)
			for range 20 {
				transfer(t, clients, 20)()
				if err := tryClient(m, p.address, testTimeout); err != nil {
					t.Fatalf("beside silent connections: %v", err)
				}
				if n, _ := p.descriptors(); n >= fewFiles {
					t.Fatalf("%d descriptors are open", n)
				}
			}
			for _, conn := range silent {
				resetConn(conn)
			}
			p.awaitDescriptors(t, before+idleSlack)
		})
	}
}

// The program raises its soft limit of descriptors to the hard one, and derives the
// limits of unauthenticated connections from that.
func TestSoftLimitOfDescriptorsIsRaised(t *testing.T) {
	t.Parallel()
	m := modes[1]
	dc := startDataCenter(t, listen(t))
	p := startProgram(t, "", fileLimit{soft: 256, hard: 1024}, flagsFor(m, dc, nil)...)
	limits := regexp.MustCompile(`(?m)^Max open files +(\d+) +1024 `).FindStringSubmatch(p.read(t, "limits"))
	if limits == nil {
		t.Fatalf("limits of the program:\n%s", p.read(t, "limits"))
	}
	n, err := strconv.Atoi(limits[1])
	if err != nil || n < 1023 { // the Go runtime stays one below
		t.Errorf("soft limit %s", limits[1])
	}
	eventually(t, "the limits are logged", func() bool {
		return p.logged(fmt.Sprintf("max_unauthenticated=%d max_fronted=%d descriptors=%d", n/4, n/8, n))
	})
}

// With few descriptors, any number of silent connections of one address, and more
// that keep coming, lock no client out, neither at that address nor at another one.
// The clients that are connected are served as well.
func TestSilentConnectionsLockNoClientOut(t *testing.T) {
	t.Parallel()
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			const files = 128
			host := newFrontingHost(t)
			dc := startDataCenter(t, listen(t))
			p := startProgram(t, "", fileLimit{files, files}, flagsFor(m, dc, host)...)
			var clients []*loadgen.Client
			for range 5 {
				clients = append(clients, mustDial(t, m, p.address, 2, nil))
			}
			openSilent(t, p.address, 4*files)
			more := startFlood(t, p.address)
			for i := 0; i < 10 || more.n.Load() < 100; i++ {
				from := [...]string{"127.0.0.1", "127.0.0.7"}[i%2]
				if err := tryClientFrom(m, p.address, from, testTimeout); err != nil {
					t.Fatalf("client %d, from %s, after %d connections of the flood: %v", i, from, more.n.Load(), err)
				}
			}
			transfer(t, clients, 50)()
			if n, _ := p.descriptors(); n > files*3/4 {
				t.Errorf("%d descriptors of %d are open", n, files)
			}
		})
	}
}

// flood is silent connections that keep coming.
type flood struct {
	n atomic.Int64 // connections
}

// startFlood opens up to 50 connections a second until the test ends.
func startFlood(t *testing.T, address string) *flood {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	f := &flood{}
	running.Go(func() {
		var conns connSet
		defer conns.closeAll()
		for ctx.Err() == nil {
			if conn, err := net.Dial("tcp", address); err == nil {
				conns.add(conn)
				f.n.Add(1)
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	return f
}

// tryClientFrom is tryClient for a client at that loopback address.
func tryClientFrom(m mode, address, from string, within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := dial(ctx, m, address, 2, &mtwire.DialConfig{DialContext: dialer.DialContext})
	if err == nil {
		c.Close()
	}
	return err
}

// If the configured limits are higher than the descriptors allow, and descriptors
// run out, silent connections make room for clients all the same.
func TestSilentConnectionsMakeRoomWhenDescriptorsRunOut(t *testing.T) {
	t.Parallel()
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			const files = 64
			host := newFrontingHost(t)
			dc := startDataCenter(t, listen(t))
			flags := append(flagsFor(m, dc, host), "--max-unauthenticated", "1000", "--max-fronted", "1000")
			p := startProgram(t, "", fileLimit{files, files}, flags...)
			var clients []*loadgen.Client
			for range 5 {
				clients = append(clients, mustDial(t, m, p.address, 2, nil))
			}
			before, _ := p.descriptors()
			silent := openSilent(t, p.address, 4*files)
			eventually(t, "descriptors run out", func() bool { return p.logged("no connection can be accepted") })
			for i := range 5 {
				if err := tryClient(m, p.address, testTimeout); err != nil {
					t.Errorf("client %d: %v", i, err)
				}
			}
			transfer(t, clients, 50)()
			for _, conn := range silent {
				resetConn(conn)
			}
			p.awaitDescriptors(t, before+idleSlack)
		})
	}
}

// When clients have taken all descriptors, the proxy goes on serving them, backs
// off from accept, and accepts again when there are descriptors.
func TestProxyOutOfDescriptorsServesItsClients(t *testing.T) {
	t.Parallel()
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			p, clients := startWithFewFiles(t, m)
			before, _ := p.descriptors()
			var more []*loadgen.Client
			for range fewFiles { // each takes two descriptors
				ctx, cancel := p.afterLine(t, "no connection can be accepted", 2*time.Second)
				c, err := dial(ctx, m, p.address, 2, nil)
				cancel()
				if err != nil {
					break
				}
				t.Cleanup(func() { c.Close() })
				more = append(more, c)
			}
			t.Logf("%d clients are served", len(clients)+len(more))
			if len(more) < fewFiles/4 || len(more) == fewFiles {
				t.Fatalf("%d clients with %d descriptors", len(clients)+len(more), fewFiles)
			}
			queued := openSilent(t, p.address, fewFiles)

			started, used := time.Now(), p.processorTime(t)
			time.Sleep(time.Second)
			share := float64(p.processorTime(t)-used) / float64(time.Since(started))
			if share > 0.2 {
				t.Errorf("without descriptors, the proxy uses %.0f%% of a processor", 100*share)
			}
			transfer(t, clients, 50)()

			for _, conn := range queued {
				resetConn(conn)
			}
			for _, c := range more {
				c.Close()
			}
			started = time.Now()
			for err := error(net.ErrClosed); err != nil; {
				err = tryClient(m, p.address, testTimeout/4)
				if time.Since(started) > testTimeout {
					t.Fatalf("with descriptors again: %v", err)
				}
			}
			t.Logf("it serves new clients after %v", time.Since(started).Round(time.Millisecond))
			transfer(t, clients, 50)()
			p.awaitDescriptors(t, before+idleSlack)
		})
	}
}
