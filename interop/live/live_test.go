package live

import (
	"context"
	"testing"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
)

// Clients are served, and notice that their connections are cut off, and that others are
// refused: a step that loses some fails.
func TestClientsNoticeAnEnd(t *testing.T) {
	var config mtwire.ListenConfig
	for _, text := range []string{mtwiretest.PlainSecret, mtwiretest.FakeTLSSecret} {
		secret, err := mtwire.ParseSecret(text)
		if err != nil {
			t.Fatal(err)
		}
		config.Secrets = append(config.Secrets, secret)
	}
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", &config)
	if err != nil {
		t.Fatal(err)
	}
	go ln.Serve(t.Context(), func(ctx context.Context, conn *mtwire.Conn) {
		if conn.Handshake(ctx) == nil {
			mtwiretest.Echo(ctx, conn)
		}
	})
	sessions, err := Join(t.Context(), ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer sessions.Close()
	visitors := Visit(t.Context(), ln.Addr().String())
	err = Eventually(t.Context(), answerTime, func() error {
		if visitors.Served() == 0 {
			return context.DeadlineExceeded
		}
		return sessions.Check(t.Context())
	})
	if err != nil {
		t.Error(err)
	}
	ln.Close()
	if err := Eventually(t.Context(), answerTime, func() error {
		visitors.mu.Lock()
		defer visitors.mu.Unlock()
		if visitors.refused == nil {
			return context.DeadlineExceeded
		}
		return nil
	}); err != nil {
		t.Error("no client notices that the listener has gone")
	}
	if _, err := visitors.Stop(true); err == nil {
		t.Error("a refused client is no error")
	}
	if err := sessions.Check(t.Context()); err == nil {
		t.Error("no session notices its end")
	}
}
