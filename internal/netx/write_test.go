package netx

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/internal/loopback"
)

// A socket takes what it has room for, also when the context has ended. The rest is
// written when the peer reads, and every byte arrives once.
func TestWriteWritesEveryByteToASocket(t *testing.T) {
	client, server, err := loopback.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	defer server.Close()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Write(ended, server, []byte("at once"), time.Time{}); err != nil {
		t.Errorf("with room in the socket: %v", err)
	}
	long := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	written := make(chan error, 1)
	go func() {
		written <- Write(t.Context(), server, long, time.Now().Add(time.Minute))
		server.CloseWrite()
	}()
	got, err := io.ReadAll(client)
	if err != nil || string(got[:7]) != "at once" || !bytes.Equal(got[7:], long) {
		t.Errorf("%d bytes came of %d, or others: %v", len(got), 7+len(long), err)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}

// When a peer does not read, the limit ends the write, and so does the context.
func TestWriteEndsWithItsLimitAndItsContext(t *testing.T) {
	client, server, err := loopback.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	defer server.Close()
	long := make([]byte, 64<<20)
	if err := Write(t.Context(), server, long, time.Now().Add(-time.Second)); !IsTimeout(err) {
		t.Errorf("limit: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Write(ctx, server, long, time.Time{}); err != context.Canceled {
		t.Errorf("context: %v", err)
	}
	server.Close()
	if err := Write(t.Context(), server, long, time.Time{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// A connection that is no socket is written to as it is.
func TestWriteToAPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		if err := Write(t.Context(), near, []byte("nothing reads"), time.Now().Add(time.Second)); !IsTimeout(err) {
			t.Errorf("limit: %v", err)
		}
		go Write(t.Context(), near, []byte("text"), time.Time{})
		b := make([]byte, 4)
		if _, err := io.ReadFull(far, b); err != nil || string(b) != "text" {
			t.Errorf("%q, %v", b, err)
		}
	})
}

// The kernel reports a reset once, and to the first write.
func TestWriteReturnsTheReset(t *testing.T) {
	a, b, err := loopback.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b.SetLinger(0)
	b.Close()
	for err == nil { // until the reset has come
		err = Write(t.Context(), a, []byte("x"), time.Time{})
	}
	if !IsErrno(err, ECONNRESET) {
		t.Error(err)
	}
}
