package mtwire_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/mtwire/mtwire"
)

// An address that cannot be dialled is refused before anything is dialled. The
// error does not quote it.
func TestEndpointsNeedAHostAndAPort(t *testing.T) {
	config := &mtwire.DialConfig{DialContext: func(_ context.Context, _, address string) (net.Conn, error) {
		t.Errorf("%q is dialled", address)
		return nil, errors.New("dialled")
	}}
	for _, address := range []string{"", "proxy.example.com", ":443", "proxy.example.com:0", "proxy.example.com:65536", "2001:db8::1:443", "a host:443"} {
		for _, carrier := range []mtwire.Carrier{mtwire.TCP, mtwire.WebSocket, mtwire.HTTP} {
			ep := mtwire.Endpoint{Carrier: carrier, Address: address}
			_, err := mtwire.DialEndpoint(t.Context(), ep, config)
			if err == nil || !strings.HasPrefix(err.Error(), "bad endpoint: ") || address != "" && strings.Contains(err.Error(), address) {
				t.Errorf("%v %q: %v", carrier, address, err)
			}
		}
	}
	for _, url := range []string{
		"tcp://proxy.example.com", "tcp://:443", "tcp://proxy.example.com:0", "wss://proxy.example.com:65536/apiws", "http://:80/api", "https:///api",
	} {
		if ep, err := mtwire.ParseEndpoint(url); err == nil || !strings.HasPrefix(err.Error(), "bad endpoint: ") {
			t.Errorf("%s: %v, %v", url, ep, err)
		}
	}
}

// A client on an open byte stream needs no address, and ignores a bad one.
func TestClientOnAnOpenStreamNeedsNoAddress(t *testing.T) {
	for _, address := range []string{"", "nowhere", "127.0.0.1:443"} {
		stream, other := net.Pipe()
		defer stream.Close()
		defer other.Close()
		if _, err := mtwire.Client(t.Context(), stream, mtwire.Endpoint{Address: address}, nil); err != nil {
			t.Errorf("%q: %v", address, err)
		}
	}
}
