package splice

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"time"
)

// startPoller runs a poller for the test's time.
func startPoller(t *testing.T) *Poller {
	t.Helper()
	poller, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- poller.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; !errors.Is(err, context.Canceled) {
			t.Errorf("the poller ended with %v", err)
		}
	})
	return poller
}

// invert is a Transform that loses nothing and can be undone.
func invert(b []byte) (int, error) {
	for i := range b {
		b[i] = ^b[i]
	}
	return len(b), nil
}

// lengths is a Framing like that of TLS records.
var lengths = &Framing{HeaderLength: 5, MaxBody: 16<<10 - 5, PutHeader: func(h []byte, n int) {
	copy(h, "\x17\x03\x03")
	binary.BigEndian.PutUint16(h[3:], uint16(n))
}}

// unframe reads what lengths wrote until the end.
func unframe(r io.Reader) (b []byte, err error) {
	for {
		var h [5]byte
		if _, err := io.ReadFull(r, h[:]); err != nil {
			if err == io.EOF {
				err = nil
			}
			return b, err
		}
		body := make([]byte, binary.BigEndian.Uint16(h[3:]))
		if string(h[:3]) != "\x17\x03\x03" || len(body) == 0 || len(body) > lengths.MaxBody {
			return b, errors.New("a bad header")
		}
		if _, err := io.ReadFull(r, body); err != nil {
			return b, err
		}
		b = append(b, body...)
	}
}

// ways are the treatments that a direction can have.
var ways = map[string]func(*Flow){
	"as they are":       func(f *Flow) {},
	"edited":            func(f *Flow) { f.Transform = invert },
	"framed":            func(f *Flow) { f.Framing = lengths },
	"edited and framed": func(f *Flow) { f.Transform, f.Framing = invert, lengths },
	"watched": func(f *Flow) {
		seen := 0
		f.Inspect = func(b []byte) bool { seen += len(b); return seen < 3000 }
	},
	"watched and framed": func(f *Flow) { f.Inspect, f.Framing = func([]byte) bool { return false }, lengths },
}

// "Nothing delivered is lost or reordered": in every way, through sockets and
// others, and when the direction is parked again and again in between.
func TestEveryWayMovesTheSameBytes(t *testing.T) {
	for name, wrap := range paths {
		for way, treat := range ways {
			t.Run(name+", "+way, func(t *testing.T) {
				t.Parallel()
				poller := startPoller(t)
				client, left := pair(t)
				right, server := pair(t)
				moved := 0
				up := Flow{Dst: wrap(right), Src: wrap(left), Moved: func(n int) { moved += n }}
				treat(&up)
				edited, framed := up.Transform != nil, up.Framing != nil
				ended := make(chan [2]Result, 1)
				Start(up, Flow{Dst: wrap(left), Src: wrap(right)}, &Config{Poller: poller, Idle: 2 * time.Millisecond},
					func(up, down Result) {
						left.Close()
						right.Close()
						ended <- [2]Result{up, down}
					})
				sent := make([]byte, 1<<20)
				rand.Read(sent)
				go func() {
					for rest := sent; len(rest) > 0; {
						n := min(len(rest), 1+int(rest[0])*len(rest)/(8*256))
						client.Write(rest[:n])
						rest = rest[n:]
						if rest != nil && n%3 == 0 {
							time.Sleep(5 * time.Millisecond) // long enough to be parked
						}
					}
					client.CloseWrite()
				}()
				read := io.ReadAll
				if framed {
					read = unframe
				}
				got, err := read(server)
				if edited {
					invert(got)
				}
				if err != nil || !bytes.Equal(got, sent) {
					t.Fatalf("%d bytes of %d, %v", len(got), len(sent), err)
				}
				server.Write([]byte("answer"))
				server.Close()
				if got, err := io.ReadAll(client); err != nil || string(got) != "answer" {
					t.Errorf("%q, %v", got, err)
				}
				r := <-ended
				if r != [2]Result{{1 << 20, nil}, {6, nil}} || moved != 1<<20 {
					t.Errorf("%+v, %d moved", r, moved)
				}
			})
		}
	}
}

// A Transform that fails has what it returned delivered, and ends both directions.
func TestFailedEditDeliversWhatIsGood(t *testing.T) {
	client, left := pair(t)
	right, server := pair(t)
	bad := errors.New("bad record")
	ended := make(chan [2]Result, 1)
	Start(Flow{Dst: right, Src: left, Transform: func(b []byte) (int, error) { return bytes.IndexByte(b, '!'), bad }},
		Flow{Dst: left, Src: right}, &Config{}, func(up, down Result) {
			right.Close()
			ended <- [2]Result{up, down}
		})
	client.Write([]byte("good!bad"))
	if got, err := io.ReadAll(server); err != nil || string(got) != "good" {
		t.Errorf("%q, %v", got, err)
	}
	if r := <-ended; r != [2]Result{{4, bad}, {0, nil}} {
		t.Errorf("%+v", r)
	}
}

// Abort ends a pair with its cause, whatever it is doing.
func TestAbortEndsPairsThatWaitMoveOrAreParked(t *testing.T) {
	poller := startPoller(t)
	cause := errors.New("enough")
	states := map[string]func(client, server *net.TCPConn){
		"at once": func(client, server *net.TCPConn) {},
		"parked":  func(client, server *net.TCPConn) { time.Sleep(50 * time.Millisecond) },
		"blocked in a write": func(client, server *net.TCPConn) {
			go func() {
				for b := make([]byte, 1<<20); ; {
					if _, err := server.Write(b); err != nil {
						return
					}
				}
			}()
			time.Sleep(50 * time.Millisecond)
		},
		"half closed": func(client, server *net.TCPConn) {
			client.CloseWrite()
			io.ReadAll(server)
		},
	}
	for state, reach := range states {
		t.Run(state, func(t *testing.T) {
			client, left := pair(t)
			right, server := pair(t)
			ended := make(chan error, 2)
			p := Start(Flow{Dst: right, Src: left}, Flow{Dst: left, Src: right}, &Config{Poller: poller, Idle: time.Millisecond},
				func(up, down Result) { ended <- errors.Join(up.Err, down.Err) })
			reach(client, server)
			p.Abort(cause)
			p.Abort(errors.New("too late"))
			select {
			case err := <-ended:
				if !errors.Is(err, cause) || err.Error() != cause.Error() {
					t.Errorf("it ended with %v", err)
				}
			case <-time.After(5 * time.Second):
				t.Fatal("it goes on")
			}
			left.Close()
			right.Close()
			if len(poller.directions()) != 0 {
				t.Error("the poller remembers it")
			}
		})
	}
}

// A reset reaches a pair of which both directions are parked.
func TestParkedPairNoticesAReset(t *testing.T) {
	poller := startPoller(t)
	client, left := pair(t)
	right, _ := pair(t)
	ended := make(chan error, 1)
	Start(Flow{Dst: right, Src: left}, Flow{Dst: left, Src: right}, &Config{Poller: poller, Idle: time.Millisecond},
		func(up, down Result) { ended <- errors.Join(up.Err, down.Err) })
	time.Sleep(50 * time.Millisecond)
	client.SetLinger(0)
	client.Close()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("it ended as if nothing had happened")
		}
	case <-time.After(5 * time.Second):
		t.Fatal("it was not noticed")
	}
}

// "A goroutine for each would cost more than all else": idle pairs have none.
func TestIdlePairsHaveNoGoroutines(t *testing.T) {
	poller := startPoller(t)
	before := runtime.NumGoroutine()
	const pairs = 100
	var clients, servers []*net.TCPConn
	var started []*Pair
	ended := make(chan bool, pairs)
	for range pairs {
		client, left := pair(t)
		right, server := pair(t)
		clients, servers = append(clients, client), append(servers, server)
		started = append(started, Start(Flow{Dst: right, Src: left}, Flow{Dst: left, Src: right},
			&Config{Poller: poller, Idle: 10 * time.Millisecond}, func(up, down Result) { ended <- true }))
	}
	for round := range 3 {
		for i, client := range clients {
			client.Write([]byte{byte(i)})
			b := []byte{0}
			if _, err := io.ReadFull(servers[i], b); err != nil || b[0] != byte(i) {
				t.Fatalf("round %d: %d came, %v", round, b, err)
			}
		}
		settled := func() bool { return runtime.NumGoroutine() <= before+parkedNeed(pairs) }
		for tries := 0; !settled(); tries++ {
			if tries == 500 {
				t.Fatalf("%d goroutines for %d idle pairs", runtime.NumGoroutine()-before, pairs)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	for _, p := range started {
		p.Abort(errors.New("done"))
		<-ended
	}
}

// "Nothing delivered is lost": who does not read for longer than the linger is
// cut off, perhaps in the middle of a piece, and gets nothing from behind it.
func TestCutOffStreamHasNoGap(t *testing.T) {
	for way, treat := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			client, left := pair(t)
			right, server := pair(t)
			down := Flow{Dst: left, Src: right}
			treat(&down)
			edited, framed := down.Transform != nil, down.Framing != nil
			ended := make(chan Result, 1)
			Start(Flow{Dst: right, Src: left}, down, &Config{Poller: startPoller(t), Linger: 200 * time.Millisecond},
				func(up, down Result) {
					left.Close()
					right.Close()
					ended <- down
				})
			client.CloseWrite()
			sent := make([]byte, 32<<20)
			rand.Read(sent)
			go func() {
				server.Write(sent)
				server.Close()
			}()
			r := <-ended
			if !isTimeout(r.Err) {
				t.Errorf("it ended with %v", r.Err)
			}
			var got []byte
			var err error
			if framed {
				got, _ = unframe(client) // which may break off inside a piece
			} else if got, err = io.ReadAll(client); err != nil {
				t.Error(err)
			}
			if edited {
				invert(got)
			}
			if !bytes.HasPrefix(sent, got) || int64(len(got)) > r.Bytes {
				t.Errorf("%d bytes came that are not the first of those sent; %d were counted", len(got), r.Bytes)
			}
		})
	}
}

// pausing is a connection of which every Read fails, as one does that sets
// deadlines of its own.
type pausing struct{ plain }

func (pausing) Read([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }

// A timeout that the pair has not asked for is the end of what is no socket,
// and can be neither waited out nor parked.
func TestForeignTimeoutEndsThePair(t *testing.T) {
	_, left := pair(t)
	right, _ := pair(t)
	ended := make(chan error, 1)
	Start(Flow{Dst: right, Src: left}, Flow{Dst: left, Src: pausing{plain{right}}}, &Config{Poller: startPoller(t)},
		func(up, down Result) { ended <- errors.Join(up.Err, down.Err) })
	select {
	case err := <-ended:
		if !isTimeout(err) {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("it goes on")
	}
}
