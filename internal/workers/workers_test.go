package workers

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Functions that follow each other share a goroutine, those that block have one each,
// and a function never waits for another.
func TestFunctionsNeverWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New()
		var n atomic.Int32
		for range 3 {
			blocked := make(chan struct{})
			var all sync.WaitGroup
			all.Add(3 * maxIdle)
			for range 3 * maxIdle {
				p.Go(func() {
					n.Add(1)
					all.Done()
					<-blocked
				})
			}
			all.Wait() // each has begun
			close(blocked)
			synctest.Wait()
			if idle := p.idle.Load(); idle != maxIdle {
				t.Errorf("%d goroutines wait for work", idle)
			}
		}
		if n.Load() != 9*maxIdle {
			t.Errorf("%d calls", n.Load())
		}
		time.Sleep(idleTime)
		synctest.Wait()
		if idle := p.idle.Load(); idle != 0 {
			t.Errorf("%d goroutines wait for work that does not come", idle)
		}
		p.Go(func() { n.Add(1) })
		synctest.Wait()
		if n.Load() != 9*maxIdle+1 || p.idle.Load() != 1 {
			t.Errorf("%d calls, then %d goroutines wait", n.Load(), p.idle.Load())
		}
		p.Close() // the bubble panics if a goroutine is left
	})
}

// Close waits for functions that run.
func TestCloseWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New()
		ended := false
		p.Go(func() {
			time.Sleep(time.Second)
			ended = true
		})
		p.Close()
		if !ended {
			t.Error("Close has not waited")
		}
	})
}

// A kept goroutine takes less time than a new one for a function that needs much
// stack.
func BenchmarkDeepCalls(b *testing.B) {
	var deep func(n int) byte
	deep = func(n int) byte {
		var room [512]byte
		room[n] = byte(n)
		if n == 0 {
			return room[0]
		}
		return deep(n-1) + room[n]
	}
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			done := make(chan byte)
			go func() { done <- deep(20) }()
			<-done
		}
	})
	b.Run("kept", func(b *testing.B) {
		p := New()
		defer p.Close()
		for b.Loop() {
			done := make(chan byte)
			p.Go(func() { done <- deep(20) })
			<-done
		}
	})
}
