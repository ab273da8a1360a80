package service

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/mtwire/mtwire/internal/service/upgrade"
	"github.com/mtwire/mtwire/proxy"
)

// listener is one that a service has.
type listener struct {
	net.Listener
	address   ListenAddress // of Config.Listen; zero for one that is inherited and not configured
	inherited bool

	// Guarded by listenerSet.mu, or website.mu.
	stop    context.CancelFunc // nil unless it is served
	stopped chan struct{}      // closed when it is served no more, and is closed
	removed bool               // on purpose: it is not missed
}

// listenerSet is the listeners of a service, which come and go: those of Config.Listen in
// its order, and then those that are inherited only.
type listenerSet struct {
	mu      sync.Mutex
	all     []*listener
	serve   func(context.Context, net.Listener) error // nil before run
	serving int
	failed  chan error    // gets the first error
	over    chan struct{} // closed when nothing is served any more
}

// run serves all listeners, and those that are added later, until all of them have been
// stopped with proxy.ErrStopped, or one fails. Failed gets its error, and over is closed
// in the end.
func (s *listenerSet) run(serve func(context.Context, net.Listener) error) (failed <-chan error, over <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serve, s.failed, s.over = serve, make(chan error, 1), make(chan struct{})
	for _, l := range s.all {
		s.start(l)
	}
	return s.failed, s.over
}

// start serves l. Under mu.
func (s *listenerSet) start(l *listener) {
	ctx, stop := context.WithCancel(context.Background())
	l.stop, l.stopped = stop, make(chan struct{})
	s.serving++
	go func() {
		defer close(l.stopped)
		defer stop()
		err := s.serve(ctx, l.Listener)
		s.mu.Lock()
		defer s.mu.Unlock()
		if !l.removed && !errors.Is(err, proxy.ErrStopped) {
			select {
			case s.failed <- err:
			default:
			}
		}
		if s.serving--; s.serving == 0 {
			close(s.over)
		}
	}()
}

// replace makes all the listeners of s: it serves those that are new, and then closes
// those of before that are not among them. It returns when they are closed. Nothing is
// served if nothing was served any more.
func (s *listenerSet) replace(all []*listener) {
	s.mu.Lock()
	kept := make(map[*listener]bool, len(all))
	for _, l := range all {
		kept[l] = true
		switch {
		case s.serve == nil || l.stop != nil:
		case s.serving == 0: // the service ends
			l.Close()
		default:
			s.start(l)
		}
	}
	var removed []*listener
	for _, l := range s.all {
		if !kept[l] {
			l.removed = true
			removed = append(removed, l)
		}
	}
	s.all = all
	s.mu.Unlock()
	for _, l := range removed {
		if l.stop != nil {
			l.stop()
			<-l.stopped
		} else {
			l.Close()
		}
	}
}

// pause serves nothing until resume or end is called, and closes the descriptors of all
// listeners, whose sockets another process has as well.
func (s *listenerSet) pause() {
	s.mu.Lock()
	s.serving++ // until then
	for _, l := range s.all {
		l.removed = true
		leaveElsewhere(l.Listener)
		l.stop()
	}
	s.mu.Unlock()
	for _, l := range s.all {
		<-l.stopped
	}
}

// resume serves all in place of the listeners before pause.
func (s *listenerSet) resume(all []*listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = all
	for _, l := range all {
		s.start(l)
	}
	s.serving--
}

// end is called in place of resume.
func (s *listenerSet) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.serving--; s.serving == 0 {
		close(s.over)
	}
}

// duplicate returns other listeners on the same sockets.
func (s *listenerSet) duplicate(c *Config) (all []*listener, err error) {
	for _, l := range s.list() {
		other, err := upgrade.Duplicate(l.Listener)
		if err != nil {
			closeAllHere(all)
			return nil, err
		}
		if !l.inherited {
			other = c.wrapHandedOver(other)
			takeFile(other, l.Listener)
		}
		all = append(all, &listener{Listener: other, address: l.address, inherited: l.inherited})
	}
	return all, nil
}

// isServed reports whether run was called.
func (s *listenerSet) isServed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.serve != nil
}

// list returns the listeners as they are now.
func (s *listenerSet) list() []*listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all // which is replaced, and never changed
}

// closeAll closes the listeners.
func (s *listenerSet) closeAll() {
	for _, l := range s.list() {
		l.Close()
	}
}
