package loadgen

import (
	"bytes"
	"testing"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/mtwiretest"
)

// The hellos of two connections differ in nothing but the session id, before they
// are signed.
func TestRenewedHellosDifferInTheirSessionIDs(t *testing.T) {
	dc := startDataCenter(t)
	target := Target{Endpoint: endpoint(t, dc.Addr(), "secret="+mtwiretest.FakeTLSSecret)}
	if err := target.prepareHello(); err != nil {
		t.Fatal(err)
	}
	var hellos [2]faketls.ClientHello
	var rest [2][]byte
	for i := range hellos {
		b, err := target.renewedHello("")
		if err != nil {
			t.Fatal(err)
		}
		hello, n, err := faketls.ParseClientHello(b)
		if err != nil || n != len(b) || hello.SNI != target.Endpoint.Secret.Domain {
			t.Fatalf("%+v, %d of %d bytes, %v", hello, n, len(b), err)
		}
		hellos[i] = hello
		rest[i] = bytes.Replace(b, hello.SessionID[:], nil, 1)
	}
	if hellos[0].SessionID == hellos[1].SessionID || !bytes.Equal(rest[0], rest[1]) {
		t.Error("the hellos are the same, or differ elsewhere")
	}
}
