//go:build !js

package webproxy

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// dialer returns a Dialer to the relay, whose streams are accepted and held.
func (r *relay) dialer(t *testing.T, idle time.Duration) *Dialer {
	d := &Dialer{Link: r.link, Config: r.config(), IdleTimeout: idle}
	t.Cleanup(func() { d.Close() })
	return d
}

func openStream(t *testing.T, d *Dialer) *Conn {
	t.Helper()
	conn, err := d.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// A session goes on for the idle timeout after its last stream: with a long one the next
// stream uses it again.
func TestIdleSessionsEndAfterATime(t *testing.T) {
	relay := newRelay(t, HTTPS, true, nil)
	long, ended := relay.dialer(t, time.Hour), make(chan struct{})
	openStream(t, long).Close()
	client := long.sessions[0].client
	conn := openStream(t, long)
	if long.Sessions() != 1 || conn.mux != client.mux {
		t.Error("the session is not used again")
	}
	conn.Close()
	brief := relay.dialer(t, time.Millisecond)
	brief.Ended = func() { close(ended) }
	conn = openStream(t, brief)
	client = brief.sessions[0].client
	time.Sleep(5 * time.Millisecond) // of the idle timeout, in use
	if client.Err() != nil || brief.Sessions() != 1 {
		t.Error("a session ends that has a stream")
	}
	conn.Close()
	<-ended
	<-client.ended
	if brief.Sessions() != 0 || !errors.Is(client.Err(), net.ErrClosed) {
		t.Errorf("%d sessions, %v", brief.Sessions(), client.Err())
	}
	long.Close()
	eventually(t, "the relay to know", func() bool { return relay.Stats().Sessions == 0 })
}

// A session has no more streams than its limit. What is closed makes room.
func TestMoreStreamsThanASessionTakesHaveAnother(t *testing.T) {
	relay := newRelay(t, WebSocket, true, nil)
	d := relay.dialer(t, 0)
	d.SessionStreams = 2
	var conns []*Conn
	for range 5 {
		conns = append(conns, openStream(t, d))
	}
	if d.Sessions() != 3 {
		t.Errorf("%d sessions", d.Sessions())
	}
	first := conns[0].mux
	conns[0].Close()
	if conn := openStream(t, d); conn.mux != first || d.Sessions() != 3 {
		t.Error("the room of a closed stream is not used")
	}
}

// The Dial of a session goes on as long as an Open waits for it, whichever began it, and
// no longer.
func TestADialEndsWithTheLastThatWaits(t *testing.T) {
	relay := newRelay(t, HTTPS, true, nil)
	d := relay.dialer(t, 0)
	dialling, ended := make(chan struct{}), make(chan struct{})
	var once sync.Once
	d.Config.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		once.Do(func() { close(dialling) })
		<-ctx.Done()
		close(ended)
		return nil, ctx.Err()
	}
	first, cancelFirst := context.WithCancel(t.Context())
	second, cancelSecond := context.WithCancel(t.Context())
	results := make(chan error, 2)
	open := func(ctx context.Context) {
		_, err := d.Open(ctx)
		results <- err
	}
	go open(first)
	<-dialling
	go open(second)
	eventually(t, "the second to wait", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.sessions[0].streams == 2
	})
	cancelFirst()
	if err := <-results; !errors.Is(err, context.Canceled) || d.Sessions() != 1 {
		t.Errorf("%v, %d sessions", err, d.Sessions())
	}
	cancelSecond()
	if err := <-results; !errors.Is(err, context.Canceled) || d.Sessions() != 0 {
		t.Errorf("%v, %d sessions", err, d.Sessions())
	}
	<-ended
}

// A session whose stream ids are used up gets no more streams, and another takes its
// place. Its own streams go on.
func TestASessionWithoutStreamIDsIsReplaced(t *testing.T) {
	relay := newRelay(t, WebSocket, true, nil)
	go relay.echo()
	d := relay.dialer(t, 0)
	first := openStream(t, d)
	client := d.sessions[0].client
	client.mu.Lock()
	client.state.nextID = MaxStream + 1
	client.mu.Unlock()
	second := openStream(t, d)
	if second.mux == first.mux || d.Sessions() != 2 {
		t.Errorf("%d sessions", d.Sessions())
	}
	for _, conn := range []*Conn{first, second} {
		if err := exchange(conn, 1000, 1); err != nil {
			t.Error(err)
		}
		conn.Close()
	}
}

// A session that the relay ends gives its streams an error that is no EOF: their bytes
// may be incomplete. One that Close ends gives net.ErrClosed.
func TestStreamsOfASessionThatEndsHaveAnError(t *testing.T) {
	eachCarrier(t, func(t *testing.T, carrier Carrier, http2 bool) {
		relay := newRelay(t, carrier, http2, nil)
		d := relay.dialer(t, 0)
		conn := openStream(t, d)
		d.Close()
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		conn = openStream(t, d)
		relay.Close()
		if _, err := conn.Read(make([]byte, 1)); carrier != WebSocketLanes && !errors.Is(err, ErrSessionEnded) || err == io.EOF && carrier != WebSocketLanes {
			t.Errorf("after the relay's end: %v", err)
		}
	})
}
