package proxy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
)

// Transport errors that the data centre sends first are in the log line and in
// Stats, and reach the client, in every mode. The connection goes on.
func TestTransportErrorsPassAndAreCounted(t *testing.T) {
	codes := []uint32{404, 429, 444}
	next := make(chan uint32, 1)
	dc, err := mtwire.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- dc.Serve(ctx, func(ctx context.Context, conn *mtwire.Conn) {
			p, err := conn.Receive(ctx)
			if err == nil {
				err = conn.SendError(ctx, <-next)
			}
			for err == nil {
				if err = conn.Send(ctx, p.Payload); err == nil {
					p, err = conn.Receive(ctx)
				}
			}
		})
	}()
	t.Cleanup(func() { cancel(); <-served })

	log := &logBuffer{}
	p, address := startProxy(t, Config{Log: log.logger(), DataCenters: allAt(dc.Addr())})
	total := 0
	for _, m := range mtwiretest.ProxiedModes() {
		for _, code := range codes {
			conn, err := mtwire.Dial(short(t), m.Endpoint(address), nil)
			if err != nil {
				t.Fatal(err)
			}
			next <- code
			if err := conn.Send(short(t), payload(3)); err != nil {
				t.Fatal(err)
			}
			var got *mtwire.TransportError
			if _, err := conn.Receive(short(t)); !errors.As(err, &got) || got.Code != code {
				t.Errorf("%s: %v, want %d", m.Transport, err, code)
			}
			if _, err := conn.Receive(short(t)); err != nil {
				t.Errorf("%s: behind it %v", m.Transport, err)
			}
			echo(t, conn, 5000)
			conn.Close()
			total++
			eventually(t, "a line", func() bool { return len(log.lines("msg=closed")) == total })
			if line := log.last(); !strings.Contains(line, fmt.Sprintf(" transport_error=%d ", code)) {
				t.Errorf("%s: %s", m.Transport, line)
			}
		}
	}
	if n := p.Stats().TransportErrors; int(n) != total {
		t.Errorf("%d transport errors are counted, of %d", n, total)
	}
}
