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

// A flood of 5,000 connections of a client's own address, which send nothing and
// which the limits allow, does not disturb the client. When they are closed, their
// descriptors are released, and further floods take no more memory than the first: one
// of them may, because the collector has not run yet.
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
			var peaks []int
			for range 3 {
				before := p.resident(t)
				silent := openSilent(t, p.address, n)
				eventually(t, "all are accepted", func() bool { open, _ := p.descriptors(); return open >= n })
				// Long enough for the proxy to connect the fronting host for them.
				for end := time.Now().Add(4 * time.Second); time.Now().Before(end); {
					exchange(t, c, 20)
					if err := tryClient(m, p.address, 10*time.Second); err != nil {
						t.Fatalf("beside %d silent connections: %v", n, err)
					}
				}
				peaks = append(peaks, p.resident(t))
				open, _ := p.descriptors()
				t.Logf("%d silent connections: %.1f KiB each, %d descriptors", n, float64(p.resident(t)-before)/float64(n), open)
				for i, conn := range silent {
					if i%2 == 0 {
						resetConn(conn)
					} else {
						conn.Close()
					}
				}
				p.awaitDescriptors(t, descriptors+idleSlack)
				exchange(t, c, 20)
			}
			if min(peaks[1], peaks[2]) > peaks[0]+peaks[0]/4+8<<10 {
				t.Errorf("memory grows: %d KiB in successive floods", peaks)
			}
		})
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
