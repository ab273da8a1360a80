package loadgen

import (
	"testing"

	"github.com/mtwire/mtwire"
)

// The data centre closes a connection with a message that no Client sends. Other
// connections stay open.
func TestForeignMessagesCloseTheirConnection(t *testing.T) {
	dc := startDataCenter(t)
	witness := dialDirect(t, dc, mtwire.Intermediate, 0)
	messages := map[string]func([]byte){
		"foreign":             func(b []byte) { b[0]++ },
		"of no kind":          func(b []byte) { b[8] = 99 },
		"too long a download": func(b []byte) { putHeader(b, kindDownload, 1, request{1, MaxLength + 16}.number()) },
	}
	for name, change := range messages {
		ep := direct(dc.Addr())
		conn, err := mtwire.DialEndpoint(testContext(t), ep, nil)
		if err != nil {
			t.Fatal(err)
		}
		b := append([]byte(nil), fill(nil, 1, MinLength)...)
		change(b)
		if err := conn.Send(testContext(t), b); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Receive(testContext(t)); !isClosed(err) {
			t.Errorf("%s: %v", name, err)
		}
		conn.Close()
	}
	if err := witness.Echo(testContext(t)); err != nil {
		t.Error(err)
	}
}

// Data over the length limit is corrupt.
func TestTooLongDataIsCorrupt(t *testing.T) {
	dc := startDataCenter(t)
	conn, err := mtwire.DialEndpoint(testContext(t), direct(dc.Addr()), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	b := make([]byte, MaxLength+16)
	putHeader(b, kindData, 1, 0)
	if err := conn.Send(testContext(t), b); err != nil {
		t.Fatal(err)
	}
	p, err := conn.Receive(testContext(t))
	if m, _ := parseMessage(p.Payload); err != nil || m.kind != kindFault {
		t.Errorf("%+v, %v", m, err)
	}
}
