package faults_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/tools/loadgen"
)

// fewFiles is the number of descriptors that a proxy under test may have.
const fewFiles = 64

// startWithFewFiles starts a program with fewFiles descriptors, and connects five
// clients.
func startWithFewFiles(t *testing.T, m mode) (*program, []*loadgen.Client) {
	dc := startDataCenter(t, listen(t))
	p := startProgram(t, "", fewFiles, flagsFor(m, dc, newFrontingHost(t))...)
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
			for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
				transfer(t, clients, 20)()
				if err := tryClient(m, p.address, 2*time.Second); err != nil {
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
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
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
				err = tryClient(m, p.address, 5*time.Second)
				if time.Since(started) > 20*time.Second {
					t.Fatalf("with descriptors again: %v", err)
				}
			}
			t.Logf("it serves new clients after %v", time.Since(started).Round(time.Millisecond))
			transfer(t, clients, 50)()
			p.awaitDescriptors(t, before+idleSlack)
		})
	}
}
