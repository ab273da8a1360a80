package proxy

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mtwire/mtwire/mtwiretest"
)

// deafListener is a listener that accepts nothing any more.
type deafListener struct {
	net.Listener
	closed chan struct{}
	close  sync.Once
}

func (l *deafListener) Accept() (net.Conn, error) {
	<-l.closed
	return nil, net.ErrClosed
}

func (l *deafListener) SetDeadline(time.Time) error { return nil }

func (l *deafListener) Close() error {
	l.close.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// A proxy does not respond if one of its listeners has hung, whatever becomes of the others. It
// does once that is not served any more.
func TestAProxyWithAListenerThatHangsDoesNotRespond(t *testing.T) {
	p := newEchoProxy(t)
	if err := p.Responds(t.Context()); err != nil {
		t.Error(err)
	}
	good := listen(t, "tcp", "127.0.0.1:0")
	serve(t, p, good)
	conn := join(t, good.Addr(), "secret="+mtwiretest.PaddedSecret)
	for range 3 {
		if err := p.Responds(t.Context()); err != nil {
			t.Fatal(err)
		}
		echo(t, conn, 100)
	}
	deaf := &deafListener{Listener: listen(t, "tcp", "127.0.0.1:0"), closed: make(chan struct{})}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx, deaf) }()
	late, lost := errors.New("too late"), false
	for end := time.Now().Add(time.Minute); !lost && time.Now().Before(end); { // until it is served
		limit, cancel := context.WithTimeoutCause(t.Context(), time.Millisecond, late)
		err := p.Responds(limit)
		cancel()
		lost = errors.Is(err, late) && strings.Contains(err.Error(), deaf.Addr().String())
	}
	if !lost {
		t.Error("a proxy with a listener that hangs responds")
	}
	echo(t, conn, 100)
	stop()
	<-served
	if err := p.Responds(t.Context()); err != nil {
		t.Error(err)
	}
}
