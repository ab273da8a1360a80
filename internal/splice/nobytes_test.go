package splice

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// startEnded starts a pair and returns a channel with the error of its end.
func startEnded(up, down Flow, config *Config) (*Pair, <-chan error) {
	ended := make(chan error, 1)
	p := Start(up, down, config, func(up, down Result) { ended <- errors.Join(up.Err, down.Err) })
	return p, ended
}

func awaitError(t *testing.T, ended <-chan error) error {
	t.Helper()
	select {
	case err := <-ended:
		return err
	case <-time.After(patience):
		t.Fatal("the pair continues")
		return nil
	}
}

// If the source of a flow ends before its first byte, its NoBytes decides: an error
// ends the pair, and the destination is not half-closed. It is not asked after a
// byte, or after the end of the other direction.
func TestEndBeforeTheFirstByteIsAnErrorIfNoBytesSaysSo(t *testing.T) {
	none := errors.New("no bytes")
	for name, c := range map[string]struct {
		answer  error
		reach   func(client, server *net.TCPConn)
		asked   bool
		failed  bool // the upstream
		receive string
	}{
		"at once": {none, func(client, server *net.TCPConn) { server.CloseWrite() }, true, true, ""},
		"after bytes up": {none, func(client, server *net.TCPConn) {
			client.Write([]byte("up"))
			io.ReadFull(server, make([]byte, 2))
			server.CloseWrite()
		}, true, true, ""},
		"allowed": {nil, func(client, server *net.TCPConn) {
			server.CloseWrite()
			io.ReadAll(client)
			client.CloseWrite()
		}, true, false, ""},
		"after bytes down": {none, func(client, server *net.TCPConn) {
			server.Write([]byte("down"))
			server.CloseWrite()
			client.CloseWrite()
		}, false, false, "down"},
		"after the other end": {none, func(client, server *net.TCPConn) {
			client.CloseWrite()
			io.ReadAll(server)
			server.CloseWrite()
		}, false, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			client, left := pair(t)
			right, server := pair(t)
			asked := false
			p, ended := startEnded(Flow{Dst: right, Src: left}, Flow{Dst: left, Src: right, NoBytes: func() error {
				asked = true
				return c.answer
			}}, &Config{Poller: startPoller(t), Idle: time.Millisecond})
			c.reach(client, server)
			err := awaitError(t, ended)
			if asked != c.asked || (p.Failed() == net.Conn(right)) != c.failed || errors.Is(err, none) != c.failed {
				t.Errorf("asked %v, failed %v, %v", asked, p.Failed(), err)
			}
			if c.failed { // the client's connection is as it was
				left.SetDeadline(time.Time{})
				left.Write([]byte("later"))
				left.Close()
				c.receive = "later"
			}
			if got, err := io.ReadAll(client); string(got) != c.receive || err != nil {
				t.Errorf("the client received %q, %v", got, err)
			}
		})
	}
}

// Failed returns the connection whose error has ended the pair, whichever direction
// found it, and nil after an end or an Abort.
func TestFailedIsTheConnectionWithTheError(t *testing.T) {
	for name, fail := range map[string]func(p *Pair, client, server *net.TCPConn) (left, right bool){
		"client": func(_ *Pair, client, _ *net.TCPConn) (_, _ bool) {
			client.SetLinger(0)
			client.Close()
			return true, false
		},
		"upstream": func(_ *Pair, _, server *net.TCPConn) (_, _ bool) {
			server.SetLinger(0)
			server.Close()
			return false, true
		},
		"upstream, in a write": func(_ *Pair, client, server *net.TCPConn) (_, _ bool) {
			server.SetLinger(0)
			server.Close()
			client.Write(make([]byte, 1<<20))
			return false, true
		},
		"abort": func(p *Pair, _, _ *net.TCPConn) (_, _ bool) { p.Abort(io.ErrClosedPipe); return false, false },
		"end": func(_ *Pair, client, server *net.TCPConn) (_, _ bool) {
			client.Close()
			server.Close()
			return false, false
		},
	} {
		client, left := pair(t)
		right, server := pair(t)
		p, ended := startEnded(Flow{Dst: right, Src: left, Transform: invert}, Flow{Dst: left, Src: right}, &Config{})
		ofLeft, ofRight := fail(p, client, server)
		awaitError(t, ended)
		failed := p.Failed()
		if (failed == net.Conn(left)) != ofLeft || (failed == net.Conn(right)) != ofRight {
			t.Errorf("%s: it is %v", name, failed)
		}
	}
}

// A connection that was parked in a pair is parked and woken in the next one too.
func TestConnectionIsParkedInItsNextPair(t *testing.T) {
	poller := startPoller(t)
	config := &Config{Poller: poller, Idle: time.Millisecond}
	client, left := pair(t)
	for i := range 3 {
		right, server := pair(t)
		p, ended := startEnded(Flow{Dst: right, Src: left, Transform: invert}, Flow{Dst: left, Src: right}, config)
		for range 2 {
			eventually(t, "both directions are parked", func() bool {
				p.mu.Lock()
				defer p.mu.Unlock()
				return p.up.parked || idleGoroutines(1) > 0
			})
			client.Write([]byte{^byte(i)})
			b := make([]byte, 1)
			if _, err := io.ReadFull(server, b); err != nil || b[0] != byte(i) {
				t.Fatalf("pair %d: %v, %v", i, b, err)
			}
		}
		p.Abort(io.ErrClosedPipe)
		awaitError(t, ended)
		left.SetDeadline(time.Time{})
	}
}

// What Inspect has seen is not sent if the pair is aborted by then, whether a
// goroutine or the poller moves the bytes.
func TestAbortInInspectSendsNothing(t *testing.T) {
	poller := startPoller(t)
	for name, wrap := range wrappers {
		client, left := pair(t)
		right, server := pair(t)
		var p *Pair
		started := make(chan struct{})
		p, ended := startEnded(Flow{Dst: right, Src: left}, Flow{Dst: wrap(left), Src: wrap(right), Inspect: func([]byte) bool {
			<-started
			p.Abort(io.ErrClosedPipe)
			return false
		}}, &Config{Poller: poller, Idle: time.Millisecond})
		close(started)
		server.Write([]byte("too late"))
		if err := awaitError(t, ended); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%s: %v", name, err)
		}
		left.Close()
		if got, err := io.ReadAll(client); len(got) > 0 || err != nil {
			t.Errorf("%s: the client received %q, %v", name, got, err)
		}
	}
}
