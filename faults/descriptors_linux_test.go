package faults_test

import (
	"net"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/tools/loadgen"
)

// When descriptors run out, the proxy goes on serving its clients, backs off from
// accept, and accepts again when there are descriptors.
func TestProxyOutOfDescriptorsServesItsClients(t *testing.T) {
	t.Parallel()
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			const files = 64
			host := newFrontingHost(t)
			dc := startDataCenter(t, listen(t))
			p := startProgram(t, "", files, flagsFor(m, dc, host)...)
			var clients []*loadgen.Client
			for range 5 {
				clients = append(clients, mustDial(t, m, p.address, 2, nil))
			}
			before, _ := p.descriptors()
			silent := openSilent(t, p.address, files) // more than the limit; the rest is queued
			eventually(t, "no descriptor is left", func() bool { n, _ := p.descriptors(); return n >= files })

			started, used := time.Now(), p.processorTime(t)
			time.Sleep(time.Second)
			share := float64(p.processorTime(t)-used) / float64(time.Since(started))
			if share > 0.2 {
				t.Errorf("without descriptors, the proxy uses %.0f%% of a processor", 100*share)
			}
			transfer(t, clients, 50)()
			if err := tryClient(m, p.address, time.Second); err == nil {
				t.Error("a client was served without a descriptor")
			}

			for _, conn := range silent {
				resetConn(conn)
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
