package relay_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/relay"
)

// A server that takes no bytes is given up like one that does not answer.
func TestAServerThatReadsNothingIsGivenUp(t *testing.T) {
	const stuck = "192.0.2.1:443"
	ours, theirs := net.Pipe()
	defer theirs.Close()
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == stuck {
			return ours, nil
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	address, _ := start(t, relay.Config{
		AnswerTimeout: 50 * time.Millisecond, Dial: &mtwire.DialConfig{DialContext: dial},
		To: []mtwire.Endpoint{
			endpoint(t, "tcp://HOST:PORT", stuck),
			endpoint(t, "tcp://HOST:PORT", listen(t, nil, serve)),
		},
	}, nil)
	client, err := mtwire.Dial(t.Context(), "tcp://"+address, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Send(t.Context(), message(echo, 100)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := client.Receive(ctx); err != nil {
		t.Error(err)
	}
}
