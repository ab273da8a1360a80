package mtwire_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
)

// Responses that have arrived and that no Receive has returned share a memory, in which a
// client that receives nothing makes room for others.
func TestResponsesShareAMemory(t *testing.T) {
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- ln.Serve(ctx, func(ctx context.Context, conn *mtwire.Conn) {
			for {
				packet, err := conn.Receive(ctx)
				if err != nil || conn.Send(ctx, make([]byte, 1000*len(packet.Payload))) != nil {
					return
				}
			}
		})
	}()
	defer func() { cancel(); <-served }()
	memory := mtwire.NewPacketMemory(3_500_000)
	dial := func() *mtwire.Conn {
		conn, err := mtwire.Dial(ctx, "http://"+ln.Addr().String()+"/api", &mtwire.DialConfig{PacketMemory: memory})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	limited, stop := context.WithTimeout(ctx, 20*time.Second)
	defer stop()
	idle := dial()
	for range 3 {
		if err := idle.Send(limited, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	for memory.Used() < 3_000_000 && limited.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	other := dial()
	for range 3 {
		if err := other.Send(limited, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		if packet, err := other.Receive(limited); err != nil || len(packet.Payload) != 1_000_000 {
			t.Fatalf("%d bytes, %v", len(packet.Payload), err)
		}
	}
	for err = nil; err == nil; { // what it had before may be received until it is closed
		_, err = idle.Receive(limited)
	}
	if !errors.Is(err, mtwire.ErrPacketMemory) {
		t.Error(err)
	}
	idle.Close()
	if used := memory.Used(); used != 0 {
		t.Errorf("%d bytes are not given back", used)
	}
	if err := idle.Send(limited, make([]byte, 1000)); err == nil {
		t.Error("sent after the connection had made room")
	}
}
