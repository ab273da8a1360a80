package mtwire_test

import (
	"context"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
)

// Connections have the configuration that was in force when they were accepted.
func TestTheConfigurationOfAListenerIsReplaced(t *testing.T) {
	var secrets [2]mtwire.Secret
	for i := range secrets {
		secrets[i] = mtwire.Secret{Mode: mtproxy.Padded, Key: [16]byte{byte(i + 1)}}
	}
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", &mtwire.ListenConfig{Secrets: secrets[:1]})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- ln.Serve(ctx, func(ctx context.Context, conn *mtwire.Conn) {
			if conn.Handshake(ctx) == nil {
				mtwiretest.Echo(ctx, conn)
			}
		})
	}()
	defer func() { cancel(); <-served }()
	dial := func(secret mtwire.Secret) *mtwire.Conn {
		conn, err := mtwire.Dial(ctx, "tcp://"+ln.Addr().String()+"?secret="+secret.String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	echoes := func(conn *mtwire.Conn, limit time.Duration) bool {
		limited, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		if err := conn.Send(limited, make([]byte, 40)); err != nil {
			return false
		}
		_, err := conn.Receive(limited)
		return err == nil
	}
	before := dial(secrets[0])
	if !echoes(before, 20*time.Second) {
		t.Error("no answer before")
	}
	ln.SetConfig(&mtwire.ListenConfig{Secrets: secrets[1:]})
	if !echoes(dial(secrets[1]), 20*time.Second) || !echoes(before, 20*time.Second) {
		t.Error("no answer with the next secret, or on the connection before")
	}
	if echoes(dial(secrets[0]), 100*time.Millisecond) {
		t.Error("the secret before is accepted")
	}
}
