package mtwiretest

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/frame"
)

// A started data centre accepts every mode, with the secrets of its configuration
// besides none, and logs a connection's transport, request and end in this order.
func TestStartedDataCenterAcceptsEveryMode(t *testing.T) {
	secret, err := mtwire.ParseSecret(PaddedSecret)
	if err != nil {
		t.Fatal(err)
	}
	modes := append(DirectModes(), ProxiedModes()...)
	var mu sync.Mutex
	events := map[string][]Event{}
	dc := NewDataCenter(&Config{Secrets: []mtwire.Secret{secret}, Log: func(e Event) {
		if !mu.TryLock() {
			t.Error("two calls of Log at a time")
			mu.Lock()
		}
		defer mu.Unlock()
		events[e.Remote] = append(events[e.Remote], e)
	}})
	defer dc.Close()

	var clients sync.WaitGroup
	for _, m := range modes {
		clients.Go(func() {
			if err := exchangeOnce(t, dc, m); err != nil {
				t.Errorf("%s: %v", m.Transport, err)
			}
		})
	}
	clients.Wait()
	dc.Close()

	var transports, want []string
	for remote, log := range events {
		if len(log) < 3 || log[0].Event != "connected" || log[1].Answer != "resPQ" || log[len(log)-1].Event != "closed" {
			t.Errorf("%s: %v", remote, log)
			continue
		}
		transports = append(transports, fmt.Sprint(log[0].Transport, " ", dcOf(log[0])))
	}
	for _, m := range modes {
		want = append(want, fmt.Sprint(m.Transport, " ", m.DC))
	}
	slices.Sort(transports)
	slices.Sort(want)
	if !slices.Equal(transports, want) {
		t.Errorf("connected:\n%q\nwant\n%q", transports, want)
	}
}

func dcOf(e Event) int {
	if e.DC == nil {
		return 0
	}
	return *e.DC
}

// exchangeOnce requests a resPQ and echoes one encrypted message.
func exchangeOnce(t *testing.T, dc *DataCenter, m Mode) error {
	conn, err := mtwire.Dial(t.Context(), m.Endpoint(dc.Addr()), &mtwire.DialConfig{TLS: dc.ClientTLS, ObfuscatedFull: m.ObfuscatedFull})
	if err != nil {
		return err
	}
	defer conn.Close()
	nonce := newNonce()
	if err := conn.Send(t.Context(), AppendReqPQ(nil, nonce, nil)); err != nil {
		return err
	}
	p, err := conn.Receive(t.Context())
	if err != nil {
		return err
	}
	if err := CheckResPQ(p.Payload, nonce); err != nil {
		return err
	}
	message, _ := Seal([]byte(m.URL[:4]), frame.Client)
	if err := conn.Send(t.Context(), message); err != nil {
		return err
	}
	if p, err = conn.Receive(t.Context()); err != nil {
		return err
	}
	data, _, err := Open(p.Payload, frame.Server)
	if err == nil && !bytes.Equal(data, []byte(m.URL[:4])) {
		err = fmt.Errorf("%q was echoed", data)
	}
	return err
}

// Close ends the connections that are open, waits for their last events and frees
// the port. A second Close returns.
func TestCloseEndsConnectionsAndWaits(t *testing.T) {
	var last []Event
	dc := NewDataCenter(&Config{Log: func(e Event) { last = append(last, e) }})
	conn, err := mtwire.Dial(t.Context(), "tcp://"+dc.Addr().String()+"?protocol=full", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	exchange(t, conn, request(reqPQ, 0, 0, 0))
	dc.Close()
	if n := len(last); n != 3 || last[2].Event != "closed" || last[2].Error == "" {
		t.Errorf("%v", last)
	}
	if _, err := conn.Receive(t.Context()); err == nil {
		t.Error("the connection is still open")
	}
	if c, err := net.Dial("tcp", dc.Addr().String()); err == nil {
		c.Close()
		t.Error("the data centre still listens")
	}
	dc.Close()
}
