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

// After SIGTERM under load, streams in flight go on, idle connections are closed
// and new ones are refused. The program exits with 0 when the streams have ended,
// before its drain limit.
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
			p := startProgram(t, "", fileLimit{}, flags...)
			silent := openSilent(t, p.address, 50)
			var idle, busy []*loadgen.Client
			for range 10 {
				idle = append(idle, mustDial(t, m, p.address, 4, nil))
				busy = append(busy, mustDial(t, m, p.address, 2, nil))
			}
			var running, moving sync.WaitGroup
			var signalled atomic.Bool
			moving.Add(len(busy))
			for i, c := range busy {
				running.Go(func() {
					begun := sync.OnceFunc(moving.Done)
					defer begun()
					// Three steps after the signal, each of which waits for the data centre.
					for afterSignal := 0; afterSignal < 3; begun() {
						if signalled.Load() {
							afterSignal++
						}
						begin := time.Now()
						err := c.Download(testContext(t), 3)
						if err == nil {
							err = c.Upload(testContext(t), 3)
						}
						if took := time.Since(begin); err != nil && took > time.Second {
							t.Logf("stream %d was cut in a step of %v, in which the machine may have moved nothing for a second", i, took)
							return
						}
						if err != nil {
							t.Errorf("stream %d was cut: %v", i, err)
							return
						}
					}
					c.Close()
				})
			}
			moving.Wait()
			p.signal(t, syscall.SIGTERM) // in mid-stream
			p.awaitRefusal(t)
			signalled.Store(true)
			running.Wait()
			if code := p.awaitEnd(t, testTimeout); code != 0 {
				t.Errorf("exit code %d", code)
			}
			for _, c := range idle {
				if err := c.Echo(testContext(t)); err == nil {
					t.Error("an idle connection outlived the program")
				}
			}
			for _, conn := range silent {
				conn.Close()
			}
			eventually(t, "all connections of the data centre end", func() bool { return dc.Open() == 0 })
		})
	}
}

// A program that is stopped while it drains, as with its container or its machine, ends no session
// for that: the data centre, which was stopped as well, answers when both go on.
func TestStopDuringADrainEndsNoSession(t *testing.T) {
	t.Parallel()
	m := modes[1]
	dc := startDataCenter(t, listen(t))
	for attempt := 1; ; attempt++ {
		box := newMiddlebox(t, dc.Addr().String())
		p := startProgram(t, "", fileLimit{}, "--secret", m.secret, "--dc", "*="+box.address(), "--probe=false", "--drain", "60s")
		c := mustDial(t, m, p.address, 2, nil)
		late := lateness(t)
		p.signal(t, syscall.SIGTERM)
		p.awaitRefusal(t)
		box.freeze()
		asked, answered := box.received.Load(), make(chan error, 1)
		go func() { answered <- c.Echo(testContext(t)) }()
		eventually(t, "the request is at the data centre", func() bool { return box.received.Load() > asked || len(answered) > 0 })
		p.signal(t, syscall.SIGSTOP)
		time.Sleep(1500 * time.Millisecond) // longer than a session may be idle
		p.signal(t, syscall.SIGCONT)
		time.Sleep(100 * time.Millisecond) // the program looks for idle sessions
		box.thaw()
		err := <-answered
		if by := late(); err != nil && by > 300*time.Millisecond && attempt < 5 {
			t.Logf("the machine was late by %v: %v", by, err) // the session was idle
			continue
		}
		if err != nil {
			t.Error(err)
		}
		return
	}
}

// awaitRefusal waits until the program has received a signal: it does not listen then.
func (p *program) awaitRefusal(t *testing.T) {
	t.Helper()
	eventually(t, "the program refuses new connections", func() bool {
		conn, err := net.Dial("tcp", p.address)
		if err == nil {
			conn.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
}

// During a drain, a second signal ends the program at once. So does the drain
// limit.
func TestSecondSignalAndDrainLimitEndTheProgram(t *testing.T) {
	t.Parallel()
	m := modes[1]
	dc := startDataCenter(t, listen(t))
	for name, c := range map[string]struct {
		drain string
		again bool
	}{"the second signal": {"60s", true}, "the limit": {"1s", false}} {
		p := startProgram(t, "", fileLimit{}, append(flagsFor(m, dc, nil), "--drain", c.drain)...)
		busy := mustDial(t, m, p.address, 2, nil)
		moved := make(chan error, 1)
		go func() { moved <- busy.Download(testContext(t), 1<<30) }()
		p.signal(t, syscall.SIGTERM)
		p.awaitRefusal(t)
		if c.again {
			p.signal(t, syscall.SIGTERM)
		}
		if code := p.awaitEnd(t, testTimeout); code != 0 {
			t.Errorf("%s: exit code %d", name, code)
		}
		if err := <-moved; err == nil || errors.Is(err, loadgen.ErrCorrupt) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// After SIGKILL and a restart under load, clients reconnect with the same secret,
// which the program keeps in its state directory.
func TestClientsReconnectAfterSIGKILLAndRestart(t *testing.T) {
	t.Parallel()
	host := newFrontingHost(t)
	dc := startDataCenter(t, listen(t))
	state := t.TempDir() + "/state"
	flags := []string{"--state", state, "--domain", "example.com", "--dc", "*=" + dc.Addr().String(), "--front", host.address()}
	ln := listenApart(t)
	address := ln.Addr().String()
	ln.Close()
	p := startProgram(t, address, fileLimit{}, flags...)
	first, err := mtproxy.ParseLink(p.link)
	if err != nil {
		t.Fatal(err)
	}
	m := mode{name: "ee", secret: first.Secret.String(), query: "secret=" + first.Secret.String()}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var running sync.WaitGroup
	var rounds atomic.Int64
	for i := range 10 {
		running.Go(func() {
			for ctx.Err() == nil {
				c, err := dial(ctx, m, address, 2, nil)
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
				time.Sleep(20 * time.Millisecond) // the connection may have been refused
			}
		})
	}
	awaitProgress := func() {
		t.Helper()
		before := rounds.Load()
		eventually(t, "the clients are served", func() bool { return rounds.Load() >= before+50 })
	}
	awaitProgress()
	for range 2 {
		p.signal(t, syscall.SIGKILL)
		if code := p.awaitEnd(t, testTimeout); code != -1 {
			t.Errorf("exit code %d after SIGKILL", code)
		}
		p = startProgram(t, address, fileLimit{}, flags...)
		if link, err := mtproxy.ParseLink(p.link); err != nil || link != first {
			t.Fatalf("another link after a restart, %v", err)
		}
		awaitProgress()
	}
	stop()
	running.Wait()
	if info, err := os.Stat(state + "/secret"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the secret's file: %v, %v", info, err)
	}
	eventually(t, "all connections of the data centre end", func() bool { return dc.Open() == 0 })
	p.awaitDescriptors(t, 16)
}
