package webproxy

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/mtproxy"
)

// Where one attempt at a session hangs, those that come later do not all wait for it: as
// long as there are some, it would go on.
func TestALateOpenDoesNotJoinASessionThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var attempts atomic.Int32
		d := &Dialer{
			Link: Link{Host: "example.com", Secret: mtproxy.Secret{Mode: mtproxy.Padded, Key: [16]byte{1}}},
			Config: &DialConfig{DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				attempts.Add(1)
				<-ctx.Done()
				return nil, ctx.Err()
			}},
		}
		var opens sync.WaitGroup
		for range 12 {
			opens.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				if _, err := d.Open(ctx); err == nil {
					t.Error("opened")
				}
			})
			time.Sleep(5 * time.Second)
		}
		opens.Wait()
		if n := attempts.Load(); n < 3 {
			t.Errorf("%d attempts at a session in a minute", n)
		}
		synctest.Wait()
		if n := d.Sessions(); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
	})
}
