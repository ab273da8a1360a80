package relay_test

import (
	"context"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
)

// A client whose server has no descriptor waits for those that make room, which takes them a
// moment.
func TestAClientWaitsForADescriptor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{}
		begun := time.Now()
		c.relay = newRelay(t, 2, func(context.Context, string, string) (net.Conn, error) {
			if time.Since(begun) < 20*time.Millisecond {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", syscall.EMFILE)}
			}
			ours, theirs := net.Pipe()
			c.running.Go(func() {
				conn := mtwire.Server(theirs, nil)
				defer conn.Close()
				serve(context.Background(), conn)
			})
			return ours, nil
		})
		secret, err := mtwire.ParseSecret(secrets[1])
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs := net.Pipe()
		c.running.Go(func() {
			c.relay.Handle(context.Background(), mtwire.Server(ours, &mtwire.ListenConfig{Secrets: []mtwire.Secret{secret}}))
		})
		client, err := mtwire.Client(t.Context(), theirs, mtwire.Endpoint{Secret: secret, Obfuscated: true}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !answers(t, client) {
			t.Error("no answer")
		}
		client.Close()
		c.running.Wait()
	})
}
