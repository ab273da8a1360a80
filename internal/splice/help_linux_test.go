package splice

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"
)

// A direction that moves bulk moves the short messages of others, too, in place of the
// Poller's goroutines, for which the scheduler may have no processor: here they do not
// run.
func TestBulkMovesTheShortMessagesOfOthers(t *testing.T) {
	for name, treat := range treatments {
		poller, err := NewPoller()
		if err != nil {
			t.Fatal(err)
		}
		message := bytes.Repeat([]byte("message "), 50)
		client, server, _ := connected(t, poller, treat)
		client.Write(message)
		server.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if n, err := server.Read(make([]byte, 1)); err == nil {
			t.Fatalf("%s: %d bytes came without bulk", name, n)
		}
		server.SetReadDeadline(time.Time{})

		bulkClient, left := pair(t)
		right, bulkServer := pair(t)
		// First gives each direction a goroutine at once.
		up, down := Flow{Dst: right, Src: left, First: []byte{1}}, Flow{Dst: left, Src: right, First: []byte{1}}
		p := Start(up, down, &Config{Poller: poller, Idle: endless}, func(Result, Result) {})
		go io.Copy(io.Discard, bulkServer)
		go func() {
			for b := make([]byte, 1<<20); ; {
				if _, err := bulkClient.Write(b); err != nil {
					return
				}
			}
		}()
		if err := readMessage(server, name, message); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		p.Abort(errors.New("the test is over"))
		bulkClient.Close()
		bulkServer.Close()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		poller.Serve(ctx)
	}
}
