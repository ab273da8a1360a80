package splice

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// suspend suspends a pair, and returns whether it has stopped.
func suspend(t *testing.T, p *Pair) bool {
	t.Helper()
	stopped := make(chan bool, 1)
	p.Suspend(func(ok bool) { stopped <- ok })
	select {
	case ok := <-stopped:
		return ok
	case <-time.After(patience):
		t.Fatal("the pair does not stop")
		return false
	}
}

// relocated is a pair that is suspended and continued again and again.
type relocated struct {
	up, down Flow
	config   Config
	ended    chan [2]Result
	pair     *Pair
}

func (r *relocated) done(up, down Result) { r.ended <- [2]Result{up, down} }

// move continues the pair as another one, from its state alone.
func (r *relocated) move(t *testing.T) {
	t.Helper()
	if !suspend(t, r.pair) {
		t.Fatal("the pair does not stop")
	}
	up, down := r.pair.State()
	if !r.pair.Release() {
		t.Fatal("the pair is not suspended any more")
	}
	r.pair = Continue(r.up, r.down, up, down, &r.config, r.done)
}

// startRelocated starts a pair with a treatment of both directions.
func startRelocated(t *testing.T, treat func(*Flow)) (r *relocated, client, dc *net.TCPConn) {
	client, a := pair(t)
	b, dc := pair(t)
	r = &relocated{ended: make(chan [2]Result, 1), config: Config{Poller: startPoller(t), Idle: 5 * time.Millisecond, WriteTimeout: 20 * time.Second}}
	r.up, r.down = Flow{Dst: b, Src: a}, Flow{Dst: a, Src: b}
	treat(&r.up)
	treat(&r.down)
	r.pair = Start(r.up, r.down, &r.config, r.done)
	return r, client, dc
}

// Bulk in both directions loses, doubles and reorders no byte while the pair is moved
// again and again, in every way of copying. The counts go on.
func TestSuspensionLosesNoByte(t *testing.T) {
	for name, treat := range treatments {
		if name == "inspected" || name == "inspected and framed" { // their functions are for one flow
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, client, dc := startRelocated(t, treat)
			const size = 4 << 20
			var sums, want [2][sha256.Size]byte
			var moving sync.WaitGroup
			for i, way := range [2][2]*net.TCPConn{{client, dc}, {dc, client}} {
				data := make([]byte, size)
				rand.NewChaCha8([32]byte{byte(i)}).Read(data)
				want[i] = sha256.Sum256(data)
				if r.up.Transform != nil {
					b := bytes.Clone(data)
					invert(b)
					want[i] = sha256.Sum256(b)
				}
				moving.Go(func() {
					for len(data) > 0 {
						n := min(len(data), 1+rand.IntN(400<<10))
						way[0].Write(data[:n])
						data = data[n:]
					}
					way[0].CloseWrite()
				})
				moving.Go(func() {
					var b []byte
					var err error
					if r.up.Framing != nil {
						b, err = unframe(way[1])
					} else {
						b, err = io.ReadAll(way[1])
					}
					if err != nil || len(b) != size {
						t.Errorf("%d bytes, %v", len(b), err)
					}
					sums[i] = sha256.Sum256(b)
				})
			}
			finished := make(chan struct{})
			go func() { moving.Wait(); close(finished) }()
			moves := 0
			for over := false; !over; {
				select {
				case <-finished:
					over = true
				default:
					if !suspend(t, r.pair) {
						over = true // the pair has ended
						break
					}
					up, down := r.pair.State()
					if moves++; moves%3 == 0 {
						r.pair.Resume()
					} else if r.pair.Release() {
						r.pair = Continue(r.up, r.down, up, down, &r.config, r.done)
					}
				}
			}
			<-finished
			if sums != want {
				t.Error("other bytes have arrived")
			}
			for _, result := range <-r.ended {
				if result.Err != nil || result.Bytes != size {
					t.Error(result)
				}
			}
			if moves < 3 {
				t.Errorf("moved %d times", moves)
			}
		})
	}
}

// An idle pair and a half-closed one go on as they were: the other direction moves
// bytes, and ends.
func TestSuspensionKeepsHalfClosedPairs(t *testing.T) {
	for _, parked := range []bool{true, false} {
		r, client, dc := startRelocated(t, func(*Flow) {})
		exchange := func(from, to net.Conn) {
			t.Helper()
			from.Write([]byte("ping"))
			if _, err := io.ReadFull(to, make([]byte, 4)); err != nil {
				t.Fatal(err)
			}
		}
		exchange(client, dc)
		if parked {
			eventually(t, "parked", func() bool {
				r.pair.mu.Lock()
				defer r.pair.mu.Unlock()
				return r.pair.up.parked && r.pair.down.parked
			})
		}
		r.move(t)
		exchange(dc, client)
		client.CloseWrite()
		if n, err := dc.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Fatal(n, err)
		}
		for range 3 {
			r.move(t)
			exchange(dc, client)
		}
		dc.Close()
		if n, err := client.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Fatal(n, err)
		}
		if result := <-r.ended; result[0] != (Result{Bytes: 4}) || result[1] != (Result{Bytes: 16}) {
			t.Error(result)
		}
	}
}

// A pair that was half-closed and moved notices the reset of the ended side, as one that
// was not moved does.
func TestSuspensionKeepsTheWatchForAReset(t *testing.T) {
	r, client, dc := startRelocated(t, func(*Flow) {})
	client.CloseWrite()
	if n, err := dc.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatal(n, err)
	}
	r.move(t)
	client.SetLinger(0)
	client.Close()
	if result := <-r.ended; result[0].Err == nil && result[1].Err == nil {
		t.Error("the reset was not noticed")
	}
}

// A suspended pair can be aborted, and then not be released: it ends once.
func TestSuspendedPairCanBeAborted(t *testing.T) {
	r, _, _ := startRelocated(t, func(*Flow) {})
	if !suspend(t, r.pair) {
		t.Fatal("the pair does not stop")
	}
	cause := errors.New("aborted")
	r.pair.Abort(cause)
	if result := <-r.ended; !errors.Is(errors.Join(result[0].Err, result[1].Err), cause) {
		t.Error(result)
	}
	if r.pair.Release() {
		t.Error("released, too")
	}
	if suspend(t, r.pair) {
		t.Error("a pair that is over was suspended")
	}
}

// A pair whose destination takes nothing is suspended once that has taken all that was
// read, and not before.
func TestSuspensionWaitsForWhatWasRead(t *testing.T) {
	r, client, dc := startRelocated(t, func(*Flow) {})
	sent := make(chan int64, 1)
	go func() {
		b := make([]byte, 64<<10)
		var n int64
		for range 256 {
			m, _ := dc.Write(b)
			n += int64(m)
		}
		dc.CloseWrite()
		sent <- n
	}()
	full, before := 0, int64(0)
	eventually(t, "a full queue", func() bool { // and not one that was held up once
		full++
		if now := r.pair.down.bytes.Load(); now == 0 || now != before {
			full, before = 0, now
		}
		return full == 8
	})
	stopped := make(chan bool, 1)
	r.pair.Suspend(func(ok bool) { stopped <- ok })
	select {
	case <-stopped:
		t.Fatal("suspended with bytes that the destination has not taken")
	default:
	}
	received := make(chan int64, 1)
	go func() {
		n, _ := io.Copy(io.Discard, client)
		received <- n
		client.Close()
	}()
	if ok := <-stopped; ok {
		up, down := r.pair.State()
		if !r.pair.Release() {
			t.Fatal("the pair is not suspended any more")
		}
		r.pair = Continue(r.up, r.down, up, down, &r.config, r.done)
	}
	if got, want := <-received, <-sent; got != want {
		t.Errorf("%d bytes of %d", got, want)
	}
	<-r.ended
}
