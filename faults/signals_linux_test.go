package faults_test

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/tools/loadgen"
	"github.com/mtwire/mtwire/mtproxy"
)

// "SIGTERM under load": what moves goes on to its end, who is silent is let go,
// nobody new is taken, and the program ends well, long before its limit.
func TestSIGTERMLetsStreamsFinish(t *testing.T) {
	t.Parallel()
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			host := newFrontingHost(t)
			dc := startDataCenter(t, listen(t))
			slow := newMiddlebox(t, dc.Addr().String())
			slow.delay.Store(int64(100 * time.Millisecond))
			flags := []string{"--secret", m.secret, "--dc", "2=" + slow.address(), "--dc", "4=" + dc.Addr().String(), "--drain", "60s"}
			if m.name == "ee" {
				flags = append(flags, "--front", host.address())
			}
			p := startProgram(t, "", 0, flags...)
			silent := openSilent(t, p.address, 50)
			var idle, busy []*loadgen.Client
			for range 10 {
				idle = append(idle, mustDial(t, m, p.address, 4, nil))
				busy = append(busy, mustDial(t, m, p.address, 2, nil))
			}
			var running sync.WaitGroup
			var stopped atomic.Bool
			for i, c := range busy {
				running.Go(func() {
					// For three seconds, in steps that each wait for the
					// data centre.
					after := 0
					for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
						err := c.Download(limited(t), 3)
						if err == nil {
							err = c.Upload(limited(t), 3)
						}
						if err != nil {
							t.Errorf("stream %d, cut off: %v", i, err)
							return
						}
						if stopped.Load() {
							after++
						}
					}
					if after == 0 {
						t.Errorf("stream %d did not move after the signal", i)
					}
					c.Close()
				})
			}
			time.Sleep(500 * time.Millisecond) // into the middle of it
			p.signal(t, syscall.SIGTERM)
			stopped.Store(true)
			eventually(t, "it refuses new connections", func() bool {
				conn, err := net.Dial("tcp", p.address)
				if err == nil {
					conn.Close()
				}
				return errors.Is(err, syscall.ECONNREFUSED)
			})
			running.Wait()
			if code := p.awaitEnd(t, 20*time.Second); code != 0 {
				t.Errorf("exit code %d", code)
			}
			for _, c := range idle {
				if err := c.Echo(limited(t)); err == nil {
					t.Error("an idle connection outlived the program")
				}
			}
			for _, conn := range silent {
				conn.Close()
			}
			eventually(t, "the data centre has lost them all", func() bool { return dc.Open() == 0 })
		})
	}
}

// "A second signal ends it at once", and so does the limit.
func TestSecondSignalAndDrainLimitEndTheProgram(t *testing.T) {
	t.Parallel()
	m := modes[1]
	dc := startDataCenter(t, listen(t))
	for name, c := range map[string]struct {
		drain string
		again bool
	}{"the second signal": {"60s", true}, "the limit": {"1s", false}} {
		p := startProgram(t, "", 0, append(flagsFor(m, dc, nil), "--drain", c.drain)...)
		busy := mustDial(t, m, p.address, 2, nil)
		moved := make(chan error, 1)
		go func() { moved <- busy.Download(limited(t), 1<<30) }()
		p.signal(t, syscall.SIGTERM)
		eventually(t, "it refuses new connections", func() bool { return answers(m, p.address, time.Second) != nil })
		if c.again {
			p.signal(t, syscall.SIGTERM)
		}
		if code := p.awaitEnd(t, 10*time.Second); code != 0 {
			t.Errorf("%s: exit code %d", name, code)
		}
		if err := <-moved; err == nil || errors.Is(err, loadgen.ErrCorrupt) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// "SIGKILL and restart under load": clients come back with new handshakes, to
// the same secret, which the program keeps in its state directory.
func TestClientsComeBackAfterSIGKILLAndRestart(t *testing.T) {
	t.Parallel()
	host := newFrontingHost(t)
	dc := startDataCenter(t, listen(t))
	state := t.TempDir() + "/state"
	flags := []string{"--state", state, "--domain", "example.com", "--dc", "*=" + dc.Addr().String(), "--front", host.address()}
	p := startProgram(t, "", 0, flags...)
	first, err := mtproxy.ParseLink(p.link)
	if err != nil {
		t.Fatal(err)
	}
	m := mode{name: "ee", secret: first.Secret.String(), query: "secret=" + first.Secret.String()}

	place := p.address
	ctx, stop := context.WithCancel(limited(t))
	defer stop()
	var running sync.WaitGroup
	var rounds atomic.Int64
	for i := range 10 {
		running.Go(func() {
			for ctx.Err() == nil {
				c, err := dial(ctx, m, place, 2, nil)
				for err == nil {
					if err = c.Download(ctx, 5); err == nil {
						err = c.Upload(ctx, 5)
					}
					if err == nil {
						rounds.Add(1)
					}
				}
				if errors.Is(err, loadgen.ErrCorrupt) {
					t.Errorf("client %d: %v", i, err)
				}
				if c != nil {
					c.Close()
				}
				time.Sleep(20 * time.Millisecond) // refused, perhaps
			}
		})
	}
	goesOn := func() {
		t.Helper()
		before := rounds.Load()
		eventually(t, "the clients go on", func() bool { return rounds.Load() >= before+50 })
	}
	goesOn()
	for range 2 {
		p.signal(t, syscall.SIGKILL)
		if code := p.awaitEnd(t, 10*time.Second); code != -1 {
			t.Errorf("exit code %d after SIGKILL", code)
		}
		p = startProgram(t, place, 0, flags...)
		if link, err := mtproxy.ParseLink(p.link); err != nil || link != first {
			t.Fatalf("another link after a restart, %v", err)
		}
		goesOn()
	}
	stop()
	running.Wait()
	if info, err := os.Stat(state + "/secret"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the secret's file: %v, %v", info, err)
	}
	eventually(t, "the data centre has lost them all", func() bool { return dc.Open() == 0 })
	p.awaitDescriptors(t, 16)
}
