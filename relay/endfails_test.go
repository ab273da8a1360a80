package relay_test

import (
	"context"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/relay"
)

// broken is a connection that fails as its sending direction is closed.
type broken struct{ *halfPipe }

func (broken) CloseWrite() error { return &net.OpError{Op: "close", Err: syscall.ENOTCONN} }

// A server that fails as the end of the client is passed on has failed: the next one gets the
// packets and the end, and without a next one the session has not been relayed to its end. A
// client over WebSocket cannot tell that its end was the end of both directions.
func TestAServerThatFailsAsTheClientEnds(t *testing.T) {
	for _, client := range []string{"ws://HOST:PORT/apiws", "tcp://HOST:PORT"} {
		for _, answered := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) { failAsTheClientEnds(t, client, answered) })
		}
	}
}

func failAsTheClientEnds(t *testing.T, transport string, answered bool) {
	accept, log := listenAll(t), new(logLines)
	servers, dialled := make(chan *mtwire.Conn, 9), 0
	dial := &mtwire.DialConfig{DialContext: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := newHalfPipe()
		servers <- mtwire.Server(theirs, accept)
		if dialled++; dialled == 1 {
			return broken{ours}, nil
		}
		return ours, nil
	}}
	r, err := relay.New(relay.Config{Dial: dial, Log: log.logger(), To: []mtwire.Endpoint{
		endpoint(t, "tcp://HOST:PORT", "192.0.2.1:443"), endpoint(t, "tcp://HOST:PORT", "192.0.2.2:443"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	handled := make(chan bool)
	client, err := mtwire.DialEndpoint(t.Context(), endpoint(t, transport, "192.0.2.3:443"), &mtwire.DialConfig{
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := newHalfPipe()
			go func() {
				r.Handle(context.Background(), mtwire.Server(ours, accept))
				close(handled)
			}()
			return theirs, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	sends(t, client)
	first := <-servers
	defer first.Close()
	receives(t, first)
	if answered {
		sends(t, first)
		receives(t, client)
	}
	if transport[0] == 'w' {
		go client.Close()
	} else {
		closesWrite(t, client)
	}
	if !answered {
		second := <-servers
		receives(t, second)
		ends(t, second, time.Now(), 0)
		second.Close()
	}
	<-handled
	client.Close()
	if failed := strings.Contains(log.String(), "not relayed to its end") && strings.Contains(log.String(), "not connected"); failed != answered {
		t.Errorf("%s, answered %v: %v", transport, answered, log)
	}
}
