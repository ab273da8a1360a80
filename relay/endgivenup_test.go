package relay

import (
	"context"
	"net"
	"testing"

	"github.com/mtwire/mtwire"
)

// A server that was given up, to which the end of a client cannot be passed on, does not end the
// session: another server gets the packets.
func TestTheEndForAServerThatWasGivenUp(t *testing.T) {
	config := &mtwire.DialConfig{DialContext: func(context.Context, string, string) (net.Conn, error) {
		conn, peer := net.Pipe()
		t.Cleanup(func() { peer.Close() })
		return conn, nil
	}}
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	given, err := mtwire.Dial(ctx, "tcp://192.0.2.1:443", config)
	if err != nil {
		t.Fatal(err)
	}
	given.Close()
	s := &session{cancel: cancel, transport: mtwire.Transport{Carrier: mtwire.WebSocket}}
	s.endNotPassed(given)
	s.endNotPassed(nil)
	if err := s.endUpload(ctx, given); err != nil {
		t.Error(err)
	}
	if err := context.Cause(ctx); err != nil || s.ends.uploaded || s.endPassed() {
		t.Errorf("%v, uploaded %v, passed %v", err, s.ends.uploaded, s.endPassed())
	}
}
