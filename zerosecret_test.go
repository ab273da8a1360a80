package mtwire_test

import (
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
)

// The zero Secret is what an error of ParseSecret that was ignored leaves behind. Its key,
// sixteen zeros, lets no client in, whether Listen refuses the config or there is no error
// to return.
func TestZeroSecretIsNoSecret(t *testing.T) {
	config := &mtwire.ListenConfig{
		Secrets: []mtwire.Secret{{}, secretOf(t, mtwiretest.PlainSecret)},
		Time:    func() time.Time { return helloTime },
	}
	if ln, err := mtwire.Listen("tcp", "127.0.0.1:0", config); err == nil {
		ln.Close()
		t.Error("Listen accepts it")
	}
	zeros := "00000000000000000000000000000000"
	for _, c := range []struct {
		secret string
		index  int // -1 if the client is unauthenticated
	}{
		{zeros, -1}, {"dd" + zeros, -1}, {"ee" + zeros + "612e62", -1},
		{mtwiretest.PlainSecret, 1}, {mtwiretest.PaddedSecret, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			socket, other := net.Pipe()
			defer other.Close()
			server := mtwire.Server(socket, config)
			defer server.Close()
			received, ctx := make(chan error, 1), t.Context()
			go func() {
				_, err := server.Receive(ctx)
				received <- err
			}()
			if secret := secretOf(t, c.secret); secret.Domain != "" {
				if _, err := other.Write(clientHello(t, secret.Key, secret.Domain)); err != nil {
					t.Fatal(err)
				}
			} else if client, err := mtwire.Client(t.Context(), other, mtwire.Endpoint{Secret: secret}, nil); err != nil {
				t.Fatal(err)
			} else if err := client.Send(t.Context(), make([]byte, 40)); err != nil {
				t.Fatal(err)
			}
			err := <-received
			if c.index < 0 && !errors.Is(err, mtwire.ErrNoMatch) || c.index >= 0 && (err != nil || server.Transport().Secret != c.index) {
				t.Errorf("%s: %v, secret %d", c.secret, err, server.Transport().Secret)
			}
		})
	}
}
