package splice

import (
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/internal/loopback"
)

// A peer that takes nothing ends the pair after the write timeout, whichever way
// bytes are copied, and whichever function treats them.
func TestPeerThatTakesNothingEndsThePair(t *testing.T) {
	const timeout = 400 * time.Millisecond
	for name, wrap := range wrappers {
		for treatment, treat := range treatments {
			t.Run(name+", "+treatment, func(t *testing.T) {
				t.Parallel()
				client, left := pair(t)
				right, server := pair(t)
				down := Flow{Dst: wrap(left), Src: wrap(right)}
				treat(&down)
				ended := make(chan [2]Result, 1)
				begin := time.Now()
				Start(Flow{Dst: wrap(right), Src: wrap(left)}, down,
					&Config{Poller: startPoller(t), Idle: time.Millisecond, WriteTimeout: timeout},
					func(up, down Result) { ended <- [2]Result{up, down} })
				go flood(server)
				select {
				case r := <-ended:
					if took := time.Since(begin); r[0] != (Result{}) || !errors.Is(r[1].Err, ErrWriteTimeout) || took < timeout {
						t.Errorf("%+v after %v", r, took)
					}
				case <-time.After(patience):
					t.Fatal("the pair continues")
				}
				client.Close()
			})
		}
	}
}

// flood writes to conn until that fails.
func flood(conn net.Conn) {
	for b := make([]byte, 64<<10); ; {
		if _, err := conn.Write(b); err != nil {
			return
		}
	}
}

// A peer that takes little is not one that takes nothing, although its socket is
// not writable for longer than the write timeout.
func TestSlowPeerOutlivesTheWriteTimeout(t *testing.T) {
	const timeout, lasts = 400 * time.Millisecond, 2 * time.Second
	for name, wrap := range wrappers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := loopback.Undisturbed(timeout/4, func() error {
				client, left := pair(t)
				right, server := pair(t)
				ended := make(chan [2]Result, 1)
				Start(Flow{Dst: wrap(right), Src: wrap(left)}, Flow{Dst: wrap(left), Src: wrap(right)}, &Config{WriteTimeout: timeout},
					func(up, down Result) { ended <- [2]Result{up, down} })
				go flood(server)
				for begin := time.Now(); time.Since(begin) < lasts; {
					if _, err := io.ReadFull(client, make([]byte, 64<<10)); err != nil {
						return err
					}
					time.Sleep(timeout / 20)
				}
				select {
				case r := <-ended:
					return fmt.Errorf("%+v", r)
				default:
				}
				client.Close()
				<-ended
				return nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
}

// Without bytes to write there is no write timeout, and in a pause neither.
func TestIdlePairOutlivesTheWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, left := net.Pipe()
		right, server := net.Pipe()
		pauses := 0
		delay := func(int) time.Duration {
			if pauses++; pauses == 1 {
				return time.Hour
			}
			return 0
		}
		ended := make(chan [2]Result, 1)
		Start(Flow{Dst: right, Src: left}, Flow{Dst: left, Src: right, Delay: delay}, &Config{WriteTimeout: time.Minute},
			func(up, down Result) { ended <- [2]Result{up, down} })
		pass := func() {
			t.Helper()
			go server.Write([]byte("x"))
			if _, err := client.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		pass()
		pass() // after the pause
		for range 10 {
			time.Sleep(time.Hour)
			pass()
		}
		begin := time.Now()
		server.Write([]byte("x"))
		if r := <-ended; r[0].Err != nil || r[1].Err != ErrWriteTimeout {
			t.Errorf("%+v", r)
		}
		if took := time.Since(begin); took < time.Minute || took > time.Minute*5/4 {
			t.Errorf("it took %v", took)
		}
	})
}

// A pair that has ended leaves no timer behind: in the bubble, a timer that goes
// off would be a goroutine.
func TestWriteTimeoutEndsWithThePair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := runtime.NumGoroutine()
		_, left := net.Pipe()
		right, server := net.Pipe()
		ended := make(chan [2]Result, 1)
		p := Start(Flow{Dst: right, Src: left}, Flow{Dst: left, Src: right}, &Config{WriteTimeout: time.Minute},
			func(up, down Result) { ended <- [2]Result{up, down} })
		server.Write([]byte("x"))
		time.Sleep(30 * time.Second)
		cause := errors.New("enough")
		p.Abort(cause)
		if r := <-ended; !errors.Is(errors.Join(r[0].Err, r[1].Err), cause) {
			t.Errorf("%+v", r)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := runtime.NumGoroutine(); n > before {
			t.Errorf("%d goroutines are left", n-before)
		}
		if w := p.up.watch; w != nil && w.running.Load() {
			t.Error("the timer of a direction without writes runs")
		}
	})
}
