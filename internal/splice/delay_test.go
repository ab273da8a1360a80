package splice

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
)

// rate returns a Delay that limits the mean since its first call to bytesPerSecond.
func rate(bytesPerSecond int64) func(n int) time.Duration {
	var next time.Time
	return func(n int) time.Duration {
		if next.IsZero() {
			next = time.Now()
		}
		next = next.Add(time.Duration(int64(n) * int64(time.Second) / bytesPerSecond))
		return time.Until(next)
	}
}

// firstDelay is a Delay that pauses once, and closes paused just before.
func firstDelay(pause time.Duration) (delay func(int) time.Duration, paused chan struct{}) {
	paused = make(chan struct{})
	first := true
	return func(int) time.Duration {
		if !first {
			return 0
		}
		first = false
		close(paused)
		return pause
	}, paused
}

// Delay limits the rate, whichever way bytes are copied, and loses none of them.
// It is called after Moved, with the same bytes.
func TestDelayLimitsTheRate(t *testing.T) {
	const total, bytesPerSecond = 1 << 20, 4 << 20
	for name, wrap := range wrappers {
		for treatment, treat := range treatments {
			t.Run(name+", "+treatment, func(t *testing.T) {
				t.Parallel()
				client, left := pair(t)
				right, server := pair(t)
				var moved, asked int
				limit := rate(bytesPerSecond)
				up := Flow{Dst: wrap(right), Src: wrap(left), Moved: func(n int) { moved += n }}
				up.Delay = func(n int) time.Duration {
					if asked += n; n < 0 || asked != moved {
						t.Errorf("Delay(%d) at %d bytes, but %d have moved", n, asked, moved)
					}
					return limit(n)
				}
				treat(&up)
				transformed, framed := up.Transform != nil, up.Framing != nil
				ended := make(chan [2]Result, 1)
				begin := time.Now()
				Start(up, Flow{Dst: wrap(left), Src: wrap(right)}, &Config{Poller: startPoller(t), Idle: 2 * time.Millisecond},
					func(up, down Result) { ended <- [2]Result{up, down} })
				sent := make([]byte, total)
				rand.Read(sent)
				go func() {
					client.Write(sent)
					client.CloseWrite()
				}()
				read := io.ReadAll
				if framed {
					read = unframe
				}
				got, err := read(server)
				took := time.Since(begin)
				if transformed {
					invert(got)
				}
				if err != nil || !bytes.Equal(got, sent) {
					t.Fatalf("%d bytes of %d, %v", len(got), len(sent), err)
				}
				// The end of the stream comes after the last pause.
				if ideal := time.Duration(total) * time.Second / bytesPerSecond; took < ideal || took > patience {
					t.Errorf("%d bytes took %v, want %v", total, took, ideal)
				}
				server.CloseWrite()
				if r := <-ended; r != [2]Result{{total, nil}, {}} || asked != total {
					t.Errorf("%+v, Delay for %d", r, asked)
				}
			})
		}
	}
}

// If Delay returns 0 or less, the transfer goes on.
func TestDelayOfZeroIsNoPause(t *testing.T) {
	for _, delay := range []time.Duration{0, -time.Hour} {
		d := &direction{pair: &Pair{}, flow: Flow{Delay: func(int) time.Duration { return delay }}}
		if err := d.delayed(1); err != nil {
			t.Errorf("%v: %v", delay, err)
		}
	}
}

// ending is a connection whose stream has ended and whose writes succeed.
type ending struct{ net.Conn }

func (ending) Read([]byte) (int, error)         { return 0, io.EOF }
func (ending) Write(b []byte) (int, error)      { return len(b), nil }
func (ending) SetReadDeadline(time.Time) error  { return nil }
func (ending) SetWriteDeadline(time.Time) error { return nil }

// source is a connection from which the first Read returns a byte at once, the
// second one a byte after a time, and the third one the end of the stream.
type source struct {
	ending
	reads    int
	after    time.Duration
	deadline time.Time
}

func (s *source) SetReadDeadline(t time.Time) error { s.deadline = t; return nil }

func (s *source) Read(b []byte) (int, error) {
	switch s.reads++; s.reads {
	case 1:
		return 1, nil
	case 2:
		if wait := time.Until(s.deadline); !s.deadline.IsZero() && wait < s.after {
			time.Sleep(wait)
			return 0, os.ErrDeadlineExceeded
		}
		time.Sleep(s.after)
		return 1, nil
	}
	return 0, io.EOF
}

// A pause is as long as Delay returns, and no part of the linger: that begins anew
// at the end of the pause.
func TestPauseIsNoSilence(t *testing.T) {
	const linger, pause = time.Minute, time.Hour
	for _, test := range []struct {
		name    string
		after   time.Duration // from the end of the pause to the next byte
		bytes   int64
		lasts   time.Duration
		timeout bool
	}{
		{"the next byte comes within the linger", linger - 1, 2, pause + linger - 1, false},
		{"the next byte comes too late", linger + 1, 1, pause + linger, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				src := &source{after: test.after}
				delay, _ := firstDelay(pause)
				ended := make(chan Result, 1)
				Start(Flow{Dst: src, Src: ending{}}, Flow{Dst: src, Src: src, Delay: delay}, &Config{Linger: linger},
					func(up, down Result) { ended <- down })
				r := <-ended
				if r.Bytes != test.bytes || (r.Err != nil) != test.timeout || test.timeout && !netx.IsTimeout(r.Err) {
					t.Errorf("%+v", r)
				}
				if took := time.Since(begin); took != test.lasts {
					t.Errorf("the pair lasted %v, want %v", took, test.lasts)
				}
			})
		})
	}
}

// A direction pauses for as long as Delay returns more, and reads nothing in between.
func TestAPauseGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		src, more := &source{}, 3
		var asked []int
		ended := make(chan Result, 1)
		delay := func(n int) time.Duration {
			if asked = append(asked, n); more == 0 {
				return 0
			}
			if more--; src.reads != 1 {
				t.Errorf("%d reads before the end of the pause", src.reads)
			}
			return time.Hour
		}
		Start(Flow{Dst: src, Src: ending{}}, Flow{Dst: src, Src: src, Delay: delay}, &Config{Linger: time.Minute},
			func(up, down Result) { ended <- down })
		if r := <-ended; r != (Result{2, nil}) || !slices.Equal(asked, []int{1, 0, 0, 0, 1}) {
			t.Errorf("%+v, Delay for %v", r, asked)
		}
		if took := time.Since(begin); took != 3*time.Hour {
			t.Errorf("the pauses took %v", took)
		}
	})
}

// Bytes and the end of the stream that come during a pause are delivered after it.
func TestEndOfStreamArrivesAfterAPause(t *testing.T) {
	for name, wrap := range wrappers {
		t.Run(name, func(t *testing.T) {
			client, left := pair(t)
			right, server := pair(t)
			const pause = 100 * time.Millisecond
			delay, paused := firstDelay(pause)
			ended := make(chan [2]Result, 1)
			begin := time.Now()
			Start(Flow{Dst: wrap(right), Src: wrap(left), Delay: delay}, Flow{Dst: wrap(left), Src: wrap(right)},
				&Config{Poller: startPoller(t), Idle: time.Millisecond},
				func(up, down Result) { ended <- [2]Result{up, down} })
			client.Write([]byte("before, "))
			<-paused
			client.Write([]byte("during"))
			client.CloseWrite()
			if got, err := io.ReadAll(server); err != nil || string(got) != "before, during" {
				t.Errorf("%q, %v", got, err)
			}
			if took := time.Since(begin); took < pause {
				t.Errorf("the stream ended after %v, in the pause", took)
			}
			server.CloseWrite()
			if r := <-ended; r != [2]Result{{14, nil}, {}} {
				t.Errorf("%+v", r)
			}
		})
	}
}

// A pause stops one direction only. An error in the other direction ends it.
func TestPauseLeavesTheOtherDirectionAlone(t *testing.T) {
	for name, wrap := range wrappers {
		t.Run(name, func(t *testing.T) {
			client, left := pair(t)
			right, server := pair(t)
			delay, paused := firstDelay(time.Hour)
			ended := make(chan [2]Result, 1)
			Start(Flow{Dst: wrap(right), Src: wrap(left), Delay: delay}, Flow{Dst: wrap(left), Src: wrap(right)},
				&Config{Poller: startPoller(t), Idle: time.Millisecond},
				func(up, down Result) { ended <- [2]Result{up, down} })
			client.Write([]byte("x"))
			<-paused
			client.Write([]byte("not read"))
			for i := range 10 {
				server.Write([]byte{byte(i)})
				b := []byte{0}
				client.SetReadDeadline(time.Now().Add(patience))
				if _, err := io.ReadFull(client, b); err != nil || b[0] != byte(i) {
					t.Fatalf("byte %d: %d, %v", i, b, err)
				}
				time.Sleep(3 * time.Millisecond) // long enough to be parked
			}
			server.SetLinger(0)
			server.Close()
			select {
			case r := <-ended:
				if r[0] != (Result{1, nil}) || r[1].Bytes != 10 || r[1].Err == nil {
					t.Errorf("%+v", r)
				}
			case <-time.After(patience):
				t.Fatal("the pair continues")
			}
		})
	}
}

// The end of the other stream does not end a pause, although it wakes a direction
// that is parked.
func TestEndOfTheOtherStreamDoesNotEndAPause(t *testing.T) {
	client, left := pair(t)
	right, server := pair(t)
	delay, paused := firstDelay(time.Hour)
	ended := make(chan error, 1)
	p := Start(Flow{Dst: right, Src: left, Delay: delay}, Flow{Dst: left, Src: right},
		&Config{Poller: startPoller(t), Idle: time.Millisecond, Linger: time.Millisecond},
		func(up, down Result) { ended <- errors.Join(up.Err, down.Err) })
	client.Write([]byte("x"))
	<-paused
	client.Write([]byte("not read"))
	server.CloseWrite()
	if _, err := io.ReadAll(client); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		t.Fatalf("the pair ended with %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if up, _ := p.Moved(); up != 1 {
		t.Errorf("%d bytes moved, want 1", up)
	}
	cause := errors.New("enough")
	p.Abort(cause)
	if err := <-ended; !errors.Is(err, cause) {
		t.Errorf("the pair ended with %v", err)
	}
}

// Paused directions have no goroutine. Abort ends their pairs at once, with its
// cause, and leaves no goroutine behind.
func TestAbortEndsPausedPairs(t *testing.T) {
	for name, wrap := range wrappers {
		for treatment, treat := range treatments {
			t.Run(name+", "+treatment, func(t *testing.T) {
				before := runtime.NumGoroutine()
				const pairs = 20
				var started []*Pair
				cause := errors.New("enough")
				ended := make(chan error, pairs)
				var pauses atomic.Int64
				for range pairs {
					client, left := pair(t)
					right, server := pair(t)
					hour := func(int) time.Duration { pauses.Add(1); return time.Hour }
					up := Flow{Dst: wrap(right), Src: wrap(left), Delay: hour}
					treat(&up)
					started = append(started, Start(up, Flow{Dst: wrap(left), Src: wrap(right), Delay: hour}, &Config{},
						func(up, down Result) { ended <- errors.Join(up.Err, down.Err) }))
					for _, conn := range []net.Conn{client, server} {
						conn.Write([]byte("x"))
						conn.Write([]byte("not read"))
					}
				}
				eventually(t, "both directions of all pairs pause", func() bool { return pauses.Load() == 2*pairs })
				eventually(t, "paused pairs have no goroutine", func() bool { return runtime.NumGoroutine() <= before })
				for _, p := range started {
					p.Abort(cause)
					select {
					case err := <-ended:
						if !errors.Is(err, cause) || err.Error() != cause.Error() {
							t.Errorf("the pair ended with %v", err)
						}
					case <-time.After(patience):
						t.Fatal("the pair continues")
					}
				}
				eventually(t, "ended pairs have no goroutine", func() bool { return runtime.NumGoroutine() <= before })
				if n := pauses.Load(); n != 2*pairs {
					t.Errorf("%d pauses, want %d", n, 2*pairs)
				}
			})
		}
	}
}

// Abort ends a pair that is about to pause, paused or about to resume.
func TestAbortRacesWithPauses(t *testing.T) {
	for i := range 100 {
		client, left := pair(t)
		right, server := pair(t)
		ended := make(chan error, 2)
		p := Start(Flow{Dst: right, Src: left, Delay: func(int) time.Duration { return 50 * time.Microsecond }},
			Flow{Dst: left, Src: right}, &Config{}, func(up, down Result) { ended <- errors.Join(up.Err, down.Err) })
		go io.Copy(io.Discard, server)
		go func() {
			for {
				if _, err := client.Write(make([]byte, 100)); err != nil {
					return
				}
			}
		}()
		time.Sleep(time.Duration(i) * 20 * time.Microsecond)
		cause := errors.New("enough")
		p.Abort(cause)
		if err := <-ended; !errors.Is(err, cause) {
			t.Errorf("the pair ended with %v", err)
		}
		client.Close()
		server.Close()
	}
}
