package splice

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/internal/netx"
)

// runningDirections returns how many directions have a goroutine.
func runningDirections() int {
	stacks := make([]byte, 1<<20)
	return strings.Count(string(stacks[:runtime.Stack(stacks, true)]), "splice.(*direction).run(")
}

// awaitNoDirections waits until the directions of the tests before have ended: their
// goroutines go on for a moment behind Abort.
func awaitNoDirections(t *testing.T) {
	t.Helper()
	for limit := time.Now().Add(30 * time.Second); runningDirections() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("directions of other tests go on")
		}
	}
}

// endless is an idle time after which no test waits: a direction that gets a goroutine
// keeps it.
const endless = time.Hour

// connected starts a pair, and returns the ends of its peers and its end. treat sets
// the functions of both flows.
func connected(t *testing.T, poller *Poller, treat func(*Flow)) (client, server *net.TCPConn, ended chan [2]Result) {
	t.Helper()
	client, left := pair(t)
	right, server := pair(t)
	ended = make(chan [2]Result, 1)
	up, down := Flow{Dst: right, Src: left}, Flow{Dst: left, Src: right}
	treat(&up)
	treat(&down)
	p := Start(up, down, &Config{Poller: poller, Idle: endless}, func(up, down Result) { ended <- [2]Result{up, down} })
	t.Cleanup(func() { p.Abort(errors.New("the test is over")) })
	return client, server, ended
}

// Short messages are moved without a goroutine, however many there are.
func TestShortMessagesNeedNoGoroutine(t *testing.T) {
	awaitNoDirections(t)
	poller := startPoller(t)
	for name, treat := range treatments {
		client, server, _ := connected(t, poller, treat)
		for i := range 100 {
			message := bytes.Repeat([]byte{byte(i)}, 1+i*150)
			if name == "shaped" || name == "transformed and shaped" {
				message = append(message, make([]byte, shapedRecords.MinBody)...)
			}
			for _, way := range [][2]*net.TCPConn{{client, server}, {server, client}} {
				way[0].Write(message)
				if err := readMessage(way[1], name, message); err != nil {
					t.Fatalf("%s, message %d: %v", name, i, err)
				}
			}
		}
		if n := runningDirections(); n > 0 {
			t.Errorf("%s: %d directions have a goroutine", name, n)
		}
	}
}

// After the end of one stream, the other direction lingers without a goroutine: short
// messages go on, and the linger begins anew with each; the end comes in its time.
func TestParkedDirectionLingersWithoutAGoroutine(t *testing.T) {
	const linger = 1500 * time.Millisecond
	if err := loopback.Undisturbed(linger/4, func() error { return lingerWithoutAGoroutine(t, linger) }); err != nil {
		t.Error(err)
	}
}

func lingerWithoutAGoroutine(t *testing.T, linger time.Duration) error {
	awaitNoDirections(t)
	var errs []error
	var mu sync.Mutex
	failed := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		errs = append(errs, fmt.Errorf(format, args...))
	}
	type side struct {
		client, server *net.TCPConn
		ended          chan [2]Result
	}
	poller := startPoller(t)
	ends := map[string]func(server *net.TCPConn){
		"silence":           func(*net.TCPConn) {},
		"end":               func(server *net.TCPConn) { server.CloseWrite() },
		"much, and the end": func(server *net.TCPConn) { server.Write(make([]byte, 4<<20)); server.CloseWrite() },
	}
	sides := make(map[string]side)
	for name := range ends {
		client, left := pair(t)
		right, server := pair(t)
		ended := make(chan [2]Result, 1)
		Start(Flow{Dst: right, Src: left}, Flow{Dst: left, Src: right}, &Config{Poller: poller, Idle: endless, Linger: linger},
			func(up, down Result) { ended <- [2]Result{up, down}; left.Close(); right.Close() })
		client.CloseWrite()
		if n, err := server.Read(make([]byte, 1)); err != io.EOF {
			t.Fatalf("%s: %d bytes, %v", name, n, err)
		}
		sides[name] = side{client, server, ended}
	}
	for range 4 { // for longer than one linger
		time.Sleep(linger / 3)
		for name, s := range sides {
			s.server.Write([]byte("message"))
			if err := readMessage(s.client, "", []byte("message")); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	if n := runningDirections(); n > 0 {
		failed("%d directions have a goroutine", n)
	}
	var running sync.WaitGroup
	for name, s := range sides { // at the same time: what is not read in a linger is cut off
		running.Go(func() { ends[name](s.server) })
		running.Go(func() {
			s.client.SetReadDeadline(time.Now().Add(patience))
			rest, err := io.ReadAll(s.client)
			if want := map[string]int{"much, and the end": 4 << 20}[name]; err != nil || len(rest) != want {
				failed("%s: %d bytes, want %d; %v", name, len(rest), want, err)
			}
			if r := <-s.ended; r[0].Err != nil || netx.IsTimeout(r[1].Err) != (name == "silence") || r[1].Bytes != int64(len(rest)+4*len("message")) {
				failed("%s: %v", name, r)
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// readMessage reads a message that was treated, and compares it.
func readMessage(conn net.Conn, treatment string, want []byte) error {
	conn.SetReadDeadline(time.Now().Add(patience))
	var got []byte
	for len(got) < len(want) {
		if strings.Contains(treatment, "framed") || strings.Contains(treatment, "shaped") {
			var h [5]byte
			if _, err := io.ReadFull(conn, h[:]); err != nil {
				return err
			}
			body, err := unframe(io.MultiReader(bytes.NewReader(h[:]), io.LimitReader(conn, int64(h[3])<<8|int64(h[4]))))
			if err != nil {
				return err
			}
			got = append(got, body...)
			continue
		}
		b := make([]byte, len(want)-len(got))
		n, err := conn.Read(b)
		if err != nil {
			return err
		}
		got = append(got, b[:n]...)
	}
	if strings.Contains(treatment, "transformed") {
		invert(got)
	}
	if !bytes.Equal(got, want) {
		return errors.New("other bytes came")
	}
	return nil
}

// What a peer does not read yet is lost in no case: bytes that the poller's goroutine
// could not write, and those behind them, come when the peer reads, and the end after
// them.
func TestBackPressureOnShortMessagesLosesNothing(t *testing.T) {
	poller := startPoller(t)
	for name, treat := range treatments {
		client, server, ended := connected(t, poller, treat)
		source := rand.NewChaCha8([32]byte{1})
		sent := make([]byte, 8<<20)
		source.Read(sent)
		written := make(chan error, 1)
		go func() {
			for rest := sent; len(rest) > 0; {
				n := min(len(rest), 1+rand.IntN(12<<10))
				if _, err := client.Write(rest[:n]); err != nil {
					written <- err
					return
				}
				rest = rest[n:]
				if rand.IntN(20) == 0 {
					time.Sleep(time.Millisecond) // the poller sees less at once
				}
			}
			written <- client.CloseWrite()
		}()
		time.Sleep(50 * time.Millisecond) // buffers are full
		server.SetReadDeadline(time.Now().Add(30 * time.Second))
		var got []byte
		var err error
		if strings.Contains(name, "framed") || strings.Contains(name, "shaped") {
			got, err = unframe(server)
		} else {
			got, err = io.ReadAll(server)
		}
		if strings.Contains(name, "transformed") {
			invert(got)
		}
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%s: %d of %d bytes, %v", name, len(got), len(sent), err)
		}
		if err := <-written; err != nil {
			t.Errorf("%s: %v", name, err)
		}
		server.Close()
		client.Close()
		if r := <-ended; r[0].Err != nil || r[0].Bytes != int64(len(sent)) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// An error of Transform ends the pair behind the bytes before it, also if the poller's
// goroutine has called it; a read or a write that fails there ends the pair with its
// error.
func TestErrorsOfShortMessagesEndThePair(t *testing.T) {
	poller := startPoller(t)
	bad := errors.New("bad bytes")
	client, server, ended := connected(t, poller, func(f *Flow) {
		f.Transform = func(b []byte) (int, error) {
			if i := bytes.IndexByte(b, '!'); i >= 0 {
				return i, bad
			}
			return len(b), nil
		}
	})
	client.Write([]byte("good!"))
	got := make([]byte, 4)
	if _, err := io.ReadFull(server, got); err != nil || string(got) != "good" {
		t.Errorf("%q, %v", got, err)
	}
	if r := <-ended; r[0].Err != bad || r[0].Bytes != 4 {
		t.Errorf("%+v", r)
	}

	for name, act := range map[string]func(client, server *net.TCPConn){
		"reset":          func(client, _ *net.TCPConn) { abort(client) },
		"bytes at reset": func(client, server *net.TCPConn) { abort(server); client.Write([]byte("x")) },
	} {
		client, server, ended := connected(t, poller, func(*Flow) {})
		act(client, server)
		select {
		case r := <-ended:
			if r[0].Err == nil && r[1].Err == nil {
				t.Errorf("%s: %+v", name, r)
			}
		case <-time.After(patience):
			t.Errorf("%s: the pair goes on", name)
		}
	}
}

// A pause after a short message has neither a goroutine nor events, and what came
// meanwhile is moved after it.
func TestShortMessagesArePaused(t *testing.T) {
	awaitNoDirections(t)
	poller := startPoller(t)
	delays := make(chan time.Duration, 10)
	delays <- 50 * time.Millisecond
	client, server, _ := connected(t, poller, func(f *Flow) {
		f.Delay = func(int) time.Duration {
			select {
			case d := <-delays:
				return d
			default:
				return 0
			}
		}
	})
	begin := time.Now()
	client.Write([]byte("1"))
	if _, err := io.ReadFull(server, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	client.Write([]byte("2"))
	if n := runningDirections(); n > 0 && time.Since(begin) < 40*time.Millisecond {
		t.Errorf("%d goroutines in a pause", n)
	}
	server.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(server, make([]byte, 1)); err != nil || time.Since(begin) < 50*time.Millisecond {
		t.Errorf("the second byte after %v, %v", time.Since(begin), err)
	}
}
