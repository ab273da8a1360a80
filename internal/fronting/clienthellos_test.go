package fronting

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/vectors"
)

// clientHellos returns hellos of real clients, and of some that differ from TDLib in
// the order of suites, the ALPN protocols, the server name or the key shares.
func clientHellos(t *testing.T) map[string]*faketls.ClientHello {
	t.Helper()
	cases, err := vectors.Load("recorded")
	if err != nil {
		t.Fatal(err)
	}
	hellos := make(map[string]*faketls.ClientHello)
	for _, c := range cases {
		if secret, _ := c.Get("secret"); strings.HasPrefix(secret, "ee") {
			wire, _ := c.Get("wire")
			hellos[c.Name] = parsed(t, unhex(t, wire))
		}
	}
	tdlib := func(suites string, changes map[uint16]string) *faketls.ClientHello {
		return changed(t, hellos["tdlib-ee"], suites, changes)
	}
	const suites = "1301 1302 1303 c02b c02f"
	hellos["AES-256 first"] = tdlib("1302 1303 1301 c02c", nil)
	hellos["ChaCha20 first"] = tdlib("1303 1302 1301 cca9", nil)
	hellos["HTTP/1.1 only"] = tdlib(suites, map[uint16]string{0x10: "0009 08 687474702f312e31", 0x44cd: "none"})
	hellos["without a name"] = tdlib(suites, map[uint16]string{0: "none"})
	hellos["a share for X25519"] = tdlib(suites, map[uint16]string{0x33: "0024 001d 0020" + strings.Repeat("00", 32)})
	hellos["a share for P-256"] = tdlib(suites, map[uint16]string{0x33: "0045 0017 0041" + strings.Repeat("00", 65)})
	return hellos
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// changed returns a hello with other cipher suites, and with other bodies of
// extensions, or without those that are "none".
func changed(t *testing.T, hello *faketls.ClientHello, suites string, changes map[uint16]string) *faketls.ClientHello {
	t.Helper()
	b, err := hello.Renew("a.example")
	if err != nil {
		t.Fatal(err)
	}
	const fixed = 76 // up to the session ID's end
	list := fixed + 2 + int(binary.BigEndian.Uint16(b[fixed:])) + 2
	var extensions []byte
	for rest := b[list+2:]; len(rest) > 0; {
		id, end := binary.BigEndian.Uint16(rest), 4+int(binary.BigEndian.Uint16(rest[2:]))
		body := rest[4:end]
		rest = rest[end:]
		if change, ok := changes[id]; ok {
			if change == "none" {
				continue
			}
			body = unhex(t, change)
		}
		extensions = binary.BigEndian.AppendUint16(extensions, id)
		extensions = binary.BigEndian.AppendUint16(extensions, uint16(len(body)))
		extensions = append(extensions, body...)
	}
	record := append([]byte(nil), b[:fixed]...)
	record = binary.BigEndian.AppendUint16(record, uint16(len(unhex(t, suites))))
	record = append(record, unhex(t, suites)...)
	record = append(record, 1, 0)
	record = binary.BigEndian.AppendUint16(record, uint16(len(extensions)))
	record = append(record, extensions...)
	binary.BigEndian.PutUint16(record[3:], uint16(len(record)-5))
	binary.BigEndian.PutUint16(record[7:], uint16(len(record)-9))
	return parsed(t, record)
}

// flightOf returns what a host sends in answer to a hello like the client's, until
// it is silent twice: once may be over while this process is held up.
func flightOf(t *testing.T, dial func() (net.Conn, error), hello *faketls.ClientHello) (renewed *faketls.ClientHello, flight []byte) {
	t.Helper()
	b, err := hello.Renew("a.example")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(b); err != nil {
		t.Fatal(err)
	}
	silence, silent := testTimeout, 0
	for buffer := make([]byte, 4096); ; {
		conn.SetReadDeadline(time.Now().Add(silence))
		silence = 100 * time.Millisecond
		n, err := conn.Read(buffer)
		flight = append(flight, buffer[:n]...)
		if silent++; n > 0 {
			silent = 0
		}
		if err != nil && (silent == 2 || !errors.Is(err, os.ErrDeadlineExceeded)) {
			return parsed(t, b), flight
		}
	}
}

// expectLikeness fails unless FakeTLS's answer to a hello like the client's, with
// the shape that p has for it, is the host's but for random bytes: records, lengths,
// cipher suite, group and order of extensions are the same. If the host sends a
// HelloRetryRequest, ServerHello must return an error.
func expectLikeness(t *testing.T, p *Pool, dial func() (net.Conn, error), name string, hello *faketls.ClientHello) {
	t.Helper()
	renewed, theirs := flightOf(t, dial, hello)
	shape, err := p.ServerHello(renewed)
	if len(theirs) > markEnd && string(theirs[markStart:markEnd]) == retryRandom {
		if !errors.Is(err, errRetry) {
			t.Errorf("%s: %v, the host sends a HelloRetryRequest", name, err)
		}
		return
	}
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	ours, err := faketls.AppendServerHello(nil, renewed, [16]byte{1}, shape, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(theirs) < 100 || theirs[0] != handshakeRecord {
		t.Fatalf("%s: the host answers %x", name, theirs)
	}
	// The random and the key, which may be followed by supported_versions, differ each
	// time.
	n := min(5+int(binary.BigEndian.Uint16(theirs[3:])), len(ours), len(theirs))
	key, keyEnd := 95, n
	if binary.BigEndian.Uint16(theirs[81:]) == extensionKeyShare {
		key, keyEnd = key-6, keyEnd-6
	}
	for at := range n {
		if free := at >= 11 && at < 43 || at >= key && at < keyEnd; !free && ours[at] != theirs[at] {
			t.Errorf("%s:\n%x, the host has\n%x", name, ours[:95], theirs[:95])
			break
		}
	}
	if len(ours) != len(theirs) {
		t.Errorf("%s: %d bytes, the host's flight has %d", name, len(ours), len(theirs))
	}
}

// background runs p until the test ends.
func background(t *testing.T, p *Pool) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
}
