package faults_test

import (
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const flood = 5000

// "floods with 5,000 connections that never speak": a client beside them is
// served as before, and when they are gone, so is all that they took. A second
// flood takes no more memory than the first.
func TestSilentConnectionsHoldUpNobody(t *testing.T) {
	t.Parallel()
	for _, m := range modes[1:] {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			host := newFrontingHost(t)
			dc := startDataCenter(t, listen(t))
			p := startProgram(t, "", 0, flagsFor(m, dc, host)...)
			c := mustDial(t, m, p.address, 2, nil)
			exchange(t, c, 20)
			descriptors, _ := p.descriptors()
			n := affordable(t)
			var peaks []int
			for range 2 {
				before := p.resident(t)
				silent := openSilent(t, p.address, n)
				eventually(t, "all are accepted", func() bool { all, _ := p.descriptors(); return all >= n })
				// Long enough for the proxy to ask the fronting host about them.
				for end := time.Now().Add(4 * time.Second); time.Now().Before(end); {
					exchange(t, c, 20)
					if err := answers(m, p.address, 10*time.Second); err != nil {
						t.Fatalf("beside %d silent connections: %v", n, err)
					}
				}
				peaks = append(peaks, p.resident(t))
				all, _ := p.descriptors()
				t.Logf("%d silent connections: %.1f KiB each, %d descriptors", n, float64(p.resident(t)-before)/float64(n), all)
				for i, conn := range silent {
					if i%2 == 0 {
						resetConn(conn)
					} else {
						conn.Close()
					}
				}
				p.awaitDescriptors(t, descriptors+runningSlack)
				exchange(t, c, 20)
			}
			if peaks[1] > peaks[0]+peaks[0]/4+8<<10 {
				t.Errorf("memory grows: %d KiB at the first flood, %d at the second", peaks[0], peaks[1])
			}
		})
	}
}

// affordable is how many connections there may be. This process has one end of
// them, and two modes run at the same time; the proxies have the other.
func affordable(t *testing.T) int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	n := min(flood, int(limit.Cur)/3-1500)
	if n < flood {
		absent(t, "a flood of 5,000 connections; fewer are used", unix.EMFILE)
	}
	return max(n, 100)
}

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
