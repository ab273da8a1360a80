package netx

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

func TestMutexIsFIFO(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m Mutex
		var order []int // guarded by m
		m.Lock(t.Context())
		for i := range 5 {
			go func() {
				if err := m.Lock(t.Context()); err != nil {
					t.Error(err)
				}
				order = append(order, i)
				m.Unlock()
			}()
			synctest.Wait()
		}
		m.Unlock()
		synctest.Wait()
		if !slices.Equal(order, []int{0, 1, 2, 3, 4}) {
			t.Errorf("locked in the order %v", order)
		}
	})
}

func TestWaitingLockReturnsWhenItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m Mutex
		m.Lock(t.Context())
		ctx, cancel := context.WithCancel(t.Context())
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { first <- m.Lock(ctx) }()
		synctest.Wait()
		go func() { second <- m.Lock(t.Context()) }()
		synctest.Wait()
		cancel()
		if err := <-first; err != context.Canceled {
			t.Errorf("the waiter whose context ended: %v", err)
		}
		synctest.Wait()
		select {
		case err := <-second:
			t.Fatalf("the other waiter: %v, and the mutex is locked", err)
		default:
		}
		m.Unlock()
		if err := <-second; err != nil {
			t.Errorf("the other waiter: %v", err)
		}
		m.Unlock()
	})
}

// The context ends just before the lock is handed over, or just after.
func TestLockIsNotLostWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for i := range 100 {
			var m Mutex
			m.Lock(t.Context())
			ctx, cancel := context.WithCancel(t.Context())
			locked := make(chan error, 1)
			go func() { locked <- m.Lock(ctx) }()
			synctest.Wait()
			if i%2 == 0 {
				cancel()
				m.Unlock()
			} else {
				m.Unlock()
				cancel()
			}
			if err := <-locked; err == nil {
				m.Unlock()
			}
			if err := m.Lock(t.Context()); err != nil { // blocks for ever if the lock is lost
				t.Fatal(err)
			}
		}
	})
}

func TestMutexExcludes(t *testing.T) {
	var m Mutex
	n := 0
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for range 1000 {
				m.Lock(t.Context())
				n++
				m.Unlock()
			}
		})
	}
	workers.Wait()
	if n != 8000 {
		t.Errorf("%d of 8000 increments", n)
	}
}

func TestUncontendedLockDoesNotAllocate(t *testing.T) {
	var m Mutex
	ended, cancel := context.WithCancel(t.Context())
	cancel() // a free mutex is locked whatever the context
	if n := testing.AllocsPerRun(100, func() {
		if err := m.Lock(ended); err != nil {
			t.Fatal(err)
		}
		m.Unlock()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
