// Package workers runs functions in goroutines that are kept a while for the next ones,
// with the stacks that they have grown: a goroutine that begins with a small stack
// copies it several times on the way down to a deep call.
package workers

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxIdle is how many goroutines wait for work at most: more than run at the same
	// time unless there is a crowd, and a megabyte of stacks at most.
	maxIdle = 64
	// idleTime is how long each waits for work.
	idleTime = 2 * time.Second
)

// Pool is a set of goroutines. Its methods may be called concurrently. New makes it.
type Pool struct {
	work    chan func()
	idle    atomic.Int32
	running sync.WaitGroup
	close   sync.Once
	closed  chan struct{}
}

// New returns a Pool without goroutines.
func New() *Pool { return &Pool{work: make(chan func()), closed: make(chan struct{})} }

// Go runs f in a goroutine. It does not wait for one that is busy. f may block for
// any time, and must not call Close.
func (p *Pool) Go(f func()) {
	select {
	case p.work <- f:
	default:
		p.running.Go(func() { p.loop(f) })
	}
}

func (p *Pool) loop(f func()) {
	timer := time.NewTimer(idleTime)
	defer timer.Stop()
	for {
		f()
		if p.idle.Add(1) > maxIdle {
			p.idle.Add(-1)
			return
		}
		timer.Reset(idleTime)
		select {
		case f = <-p.work:
			p.idle.Add(-1)
		case <-timer.C:
			p.idle.Add(-1)
			return
		case <-p.closed:
			return
		}
	}
}

// Close ends the goroutines that wait for work, and waits for the end of all
// functions. No call of Go may come after it.
func (p *Pool) Close() {
	p.close.Do(func() { close(p.closed) })
	p.running.Wait()
}
