package mtwire_test

import (
	"context"
	"net"
	"sync"
	"testing"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtwiretest"
)

// received keeps what was read from a connection.
type received struct {
	net.Conn
	mu    sync.Mutex
	bytes []byte
}

func (r *received) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bytes = append(r.bytes, b[:n]...)
	return n, err
}

// A quick acknowledgement has four bytes, and TLS 1.3 has no record shorter than 17:
// a listener sends it in one record with the answer behind it.
//
// Specification: https://www.rfc-editor.org/rfc/rfc8446#section-5.2
func TestQuickAcksMakeNoRecordThatTLSDoesNotHave(t *testing.T) {
	secret, err := mtwire.ParseSecret(mtwiretest.FakeTLSSecret)
	if err != nil {
		t.Fatal(err)
	}
	dc := mtwiretest.NewDataCenter(&mtwiretest.Config{Secrets: []mtwire.Secret{secret}})
	defer dc.Close()
	wire := &received{}
	conn, err := mtwire.Dial(t.Context(), "tcp://"+dc.Addr().String()+"?secret="+mtwiretest.FakeTLSSecret, &mtwire.DialConfig{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, address)
			wire.Conn = c
			return wire, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	message, token := mtwiretest.Seal(make([]byte, 100), frame.Client)
	for range 20 {
		if err := conn.SendPacket(t.Context(), mtwire.Packet{Payload: message, AckWanted: true}); err != nil {
			t.Fatal(err)
		}
		ack, err := conn.Receive(t.Context())
		if err != nil || ack.Kind != mtwire.KindQuickAck || ack.Token != token {
			t.Fatalf("%+v, %v", ack, err)
		}
		if p, err := conn.Receive(t.Context()); err != nil || p.Kind != mtwire.KindPayload {
			t.Fatalf("%+v, %v", p, err)
		}
	}
	wire.mu.Lock()
	defer wire.mu.Unlock()
	for rest := wire.bytes; len(rest) >= faketls.RecordHeaderLength; {
		length := int(rest[3])<<8 | int(rest[4])
		if faketls.RecordType(rest[0]) == faketls.RecordApplicationData && length < 17 {
			t.Errorf("a record of %d bytes", length)
		}
		rest = rest[min(len(rest), faketls.RecordHeaderLength+length):]
	}
}
