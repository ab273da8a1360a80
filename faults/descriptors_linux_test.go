package faults_test

import (
	"net"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/tools/loadgen"
)

// "descriptors run out (serving goes on for who is there, accepts back off and
// recover)".
func TestProxyOutOfDescriptorsServesWhoIsThere(t *testing.T) {
	t.Parallel()
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			const files = 64
			host := newFrontingHost(t)
			dc := startDataCenter(t, listen(t))
			p := startProgram(t, "", files, flagsFor(m, dc, host)...)
			var there []*loadgen.Client
			for range 5 {
				there = append(there, mustDial(t, m, p.address, 2, nil))
			}
			before, _ := p.descriptors()
			silent := openSilent(t, p.address, files) // more than fit; the rest is queued
			eventually(t, "no descriptor is left", func() bool { all, _ := p.descriptors(); return all >= files })

			started, used := time.Now(), p.processorTime(t)
			time.Sleep(time.Second)
			share := float64(p.processorTime(t)-used) / float64(time.Since(started))
			if share > 0.2 {
				t.Errorf("without descriptors it takes %.0f%% of a processor to wait for some", 100*share)
			}
			stream(t, there, 50)()
			if err := answers(m, p.address, time.Second); err == nil {
				t.Error("a client was served without a descriptor")
			}

			for _, conn := range silent {
				resetConn(conn)
			}
			started = time.Now()
			for err := error(net.ErrClosed); err != nil; {
				err = answers(m, p.address, 5*time.Second)
				if time.Since(started) > 20*time.Second {
					t.Fatalf("with descriptors again: %v", err)
				}
			}
			t.Logf("it takes clients again after %v", time.Since(started).Round(time.Millisecond))
			stream(t, there, 50)()
			p.awaitDescriptors(t, before+runningSlack)
		})
	}
}
