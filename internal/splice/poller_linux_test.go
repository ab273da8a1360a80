package splice

import (
	"context"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// When epoll fails, Serve returns the error and closes the descriptors. Nothing can be
// parked afterwards.
func TestPollerThatFailsIsClosed(t *testing.T) {
	p, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	p.sets[0].raw.Control(func(fd uintptr) { // epoll_wait fails on a file that is no epoll set
		err = unix.Dup3(int(other.Fd()), int(fd), unix.O_CLOEXEC)
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := p.Serve(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("serve: %v", err)
	}
	for i, set := range p.sets {
		if err := set.raw.Control(func(uintptr) {}); err == nil {
			t.Errorf("descriptor %d is open", i)
		}
	}
	client, _ := pair(t)
	if _, ok := p.Await(client, func() {}); ok {
		t.Error("a connection waits in it")
	}
}

// idleGoroutines returns how many goroutines idle pairs have.
func idleGoroutines(int) int { return 0 }

// directions returns the directions that the poller has.
func (p *Poller) directions() (all []*direction) {
	p.each(func(w waiter) {
		if d, ok := w.(*direction); ok {
			all = append(all, d)
		}
	})
	return all
}

// waiters returns how many directions and connections wait.
func (p *Poller) waiters() (n int) {
	p.each(func(waiter) { n++ })
	return n
}

func (p *Poller) each(f func(waiter)) {
	for _, s := range p.sets {
		s.mu.Lock()
		for index := range uint32(len(s.waiters.chunks) * slotsPerChunk) {
			if w := s.waiters.at(index).waiter; w != nil {
				f(w)
			}
		}
		s.mu.Unlock()
	}
}
