package faults_test

import (
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// maxFlood is the number of connections in a flood, if descriptors allow it.
const maxFlood = 5000

const (
	// floodSlack, in bytes, is how much more heap, or stacks, a later flood may take or
	// leave behind: 200 bytes for each connection of two floods. Maps grow in steps, and
	// the clients' handshakes are remembered.
	floodSlack = 2 << 20
	// floodClients is how many clients connect during a flood, in the time that the
	// proxy takes to connect the fronting host for all of it.
	floodClients = 80
	floodPace    = 50 * time.Millisecond
)

// A flood of 5,000 connections of a client's own address, which send nothing and
// which the limits allow, does not disturb the client. When they are closed, their
// descriptors are released, and a second and third flood take no more memory than the
// first, and leave no more behind. Memory is compared after a garbage collection, so the
// collector's pace does not count.
func TestSilentConnectionsDisturbNoClient(t *testing.T) {
	t.Parallel()
	for _, m := range modes[1:] {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			host := newFrontingHost(t)
			dc := startDataCenter(t, listen(t))
			p := startProgram(t, "", fileLimit{}, append(flagsFor(m, dc, host), "--max-unauthenticated", "20000", "--max-fronted", "20000")...)
			c := mustDial(t, m, p.address, 2, nil)
			exchange(t, c, 20)
			descriptors, _ := p.descriptors()
			n := floodSize(t)
			var peaks, left []memory
			for flood := range 3 {
				silent := openSilent(t, p.address, n)
				eventually(t, "all are accepted", func() bool { open, _ := p.descriptors(); return open >= n })
				pace := time.NewTicker(floodPace)
				for range floodClients {
					<-pace.C
					exchange(t, c, 20)
					if err := tryClient(m, p.address, testTimeout); err != nil {
						t.Fatalf("beside %d silent connections: %v", n, err)
					}
				}
				pace.Stop()
				peaks = append(peaks, p.settle(t, func(now memory) bool {
					return flood == 0 || now.heap <= peaks[0].heap+floodSlack && now.stacks <= peaks[0].stacks+floodSlack && now.resident <= peaks[0].resident+3*floodSlack
				}))
				open, _ := p.descriptors()
				t.Logf("%d silent connections: %v, %d descriptors", n, peaks[flood], open)
				for i, conn := range silent {
					if i%2 == 0 {
						resetConn(conn)
					} else {
						conn.Close()
					}
				}
				p.awaitDescriptors(t, descriptors+idleSlack)
				exchange(t, c, 20)
				left = append(left, p.settle(t, func(now memory) bool {
					return flood == 0 || now.heap <= left[0].heap+floodSlack
				}))
				t.Logf("after it: %v", left[flood])
			}
		})
	}
}

// settle collects the program's garbage until what is left is within a bound, and returns
// that. What a busy machine has not come to yet, such as the end of a session, the next
// collections find done. It fails the test if the program stays above the bound.
func (p *program) settle(t *testing.T, within func(memory) bool) (now memory) {
	t.Helper()
	for end := time.Now().Add(testTimeout); ; time.Sleep(100 * time.Millisecond) {
		if now = p.collect(t); within(now) {
			return now
		}
		if time.Now().After(end) {
			t.Errorf("the program stays above the bound: %v", now)
			return now
		}
	}
}

// floodSize returns the number of connections that this process has descriptors
// for. Two modes run at the same time. The proxies are processes of their own.
func floodSize(t *testing.T) int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	n := min(maxFlood, int(limit.Cur)/3-1500)
	if n < maxFlood {
		reportNotRun(t, "a flood of 5,000 connections; fewer are used", unix.EMFILE)
	}
	return max(n, 100)
}

// openSilent opens n connections that send nothing.
func openSilent(t *testing.T, address string, n int) []net.Conn {
	t.Helper()
	conns := make([]net.Conn, n)
	var running sync.WaitGroup
	for worker := range 8 {
		running.Go(func() {
			for i := worker; i < n; i += 8 {
				conn, err := net.Dial("tcp", address)
				if err != nil {
					t.Errorf("connection %d: %v", i, err)
					return
				}
				conns[i] = conn
			}
		})
	}
	running.Wait()
	t.Cleanup(func() {
		for _, conn := range conns {
			if conn != nil {
				conn.Close()
			}
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	return conns
}
