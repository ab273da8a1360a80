package faketls

import (
	"bytes"
	"crypto/ecdh"
	"crypto/tls"
	"encoding/binary"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/loopback"
)

// serverWith returns the configuration of a server with that group only.
func serverWith(t *testing.T, group uint16) *tls.Config {
	t.Helper()
	config, _, err := loopback.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	config.CurvePreferences = []tls.CurveID{tls.CurveID(group)}
	return config
}

// answer returns the first bytes of a crypto/tls server's answer to a hello: its
// first record.
func answer(t *testing.T, config *tls.Config, hello []byte) []byte {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	near.SetDeadline(time.Now().Add(30 * time.Second))
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer far.Close()
		tls.Server(far, config).Handshake()
	}()
	go near.Write(hello)
	record := readN(t, near, RecordHeaderLength)
	record = append(record, readN(t, near, int(binary.BigEndian.Uint16(record[3:])))...)
	near.Close()
	<-done
	return record
}

// A renewed hello of any client gets a ServerHello from a real TLS server, with the
// group of the server's choice: its key shares are keys.
func TestServersAnswerRenewedHellos(t *testing.T) {
	hellos := recordedHellos(t)
	hellos["chrome"] = chrome(t, "example.com")
	for name, b := range hellos {
		hello := mustParse(t, b)
		for _, group := range []uint16{groupX25519MLKEM768, groupX25519} {
			if !hello.hasShare(group) {
				continue
			}
			renewed, err := hello.Renew("renewed.example")
			if err != nil {
				t.Fatal(err)
			}
			record := answer(t, serverWith(t, group), renewed)
			if record[0] != byte(RecordHandshake) || record[5] != serverHelloType {
				t.Errorf("%s, %#x: the server answers %x", name, group, record[:min(len(record), 20)])
			}
		}
	}
}

// Key shares are renewed for every group that is known, alone or beside others.
func TestKeySharesOfAllGroupsAreRenewed(t *testing.T) {
	for i := range groups {
		g := &groups[i]
		id := binary.BigEndian.AppendUint16(nil, g.id)
		hello := mustParse(t, buildHello(t,
			extension(extensionGroups, append([]byte{0, 4, 0x0a, 0x0a}, id...)),
			extension(extensionSignatures, unhex(t, "0006 0403 0804 0805")),
			extension(extensionVersions, unhex(t, "02 0304")),
			extension(extensionKeyShare, keyShares(g.id, g.clientShare())),
		))
		if !hello.hasShare(g.id) {
			t.Fatalf("%#x: the share is not found", g.id)
		}
		renewed, err := hello.Renew("")
		if err != nil {
			t.Fatal(err)
		}
		record := answer(t, serverWith(t, g.id), renewed)
		if record[0] != byte(RecordHandshake) {
			t.Fatalf("%#x: the server answers %x", g.id, record)
		}
		// FakeTLS's own answer has a share of the same length and group.
		renewedHello := mustParse(t, renewed)
		flight, err := AppendServerHello(nil, &renewedHello, vectorKey, ServerHelloShape{Group: g.id, VersionsFirst: true, CipherSuite: binary.BigEndian.Uint16(record[76:])}, nil)
		if err != nil {
			t.Fatal(err)
		}
		const share = 95
		if len(flight) < len(record) || !bytes.Equal(flight[76:share], record[76:share]) || !bytes.Equal(flight[:11], record[:11]) {
			t.Errorf("%#x: %x, the server has %x", g.id, flight[:share], record[:share])
			continue
		}
		if key := record[share:]; len(key) != g.serverShare() {
			t.Errorf("%#x: %d bytes", g.id, len(key))
		}
		point := flight[share:len(record)]
		if g.kemFirst {
			point = point[g.serverKEM:]
		}
		if _, err := g.curve.NewPublicKey(point[:g.curveShare]); err != nil {
			t.Errorf("%#x: %v", g.id, err)
		}
	}
}

// A renewed hello differs from the first one in its random, session ID, keys, ticket,
// ECH payload and server name, and has everything else as it was.
func TestRenewedHelloCannotBeLinked(t *testing.T) {
	ech := unhex(t, "00 0001 0001 22 0020"+strings.Repeat("11", 32)+"0004 33333333")
	ticket := unhex(t, "001a 0014"+strings.Repeat("44", 20)+"01020304 0021 20"+strings.Repeat("55", 32))
	for _, named := range []bool{true, false} {
		extensions := [][]byte{
			extension(0x2a2a, nil),
			extension(extensionKeyShare, keyShares(groupX25519, 32)),
			extension(extensionECH, ech),
			extension(extensionSessionTicket, bytes.Repeat([]byte{0x66}, 40)),
			extension(0x4242, []byte("kept")),
			extension(extensionPreSharedKey, ticket),
		}
		if named {
			extensions = append([][]byte{extension(extensionServerName, appendServerName(nil, "a.example"))}, extensions...)
		}
		record := buildHello(t, extensions...)
		hello := mustParse(t, record)
		before := bytes.Clone(record)
		b, err := hello.Renew("www.b.example")
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(record, before) {
			t.Error("the first hello has changed")
		}
		renewed := mustParse(t, b)
		want := ""
		if named {
			want = "www.b.example"
		}
		if renewed.SNI != want || renewed.Kind() != hello.Kind() {
			t.Errorf("name %q, want %q; the kind is the same: %v", renewed.SNI, want, renewed.Kind() == hello.Kind())
		}
		if renewed.Random == hello.Random || renewed.SessionID == hello.SessionID {
			t.Error("the random or session ID is the same")
		}
		for _, secret := range []string{"11111111", "33333333", "44444444", "01020304", "55555555", "66666666", "001d002000000000"} {
			if !bytes.Contains(record, unhex(t, secret)) || bytes.Contains(b[sessionEnd:], unhex(t, secret)) {
				t.Errorf("%s is kept", secret)
			}
		}
		if !bytes.Contains(b, extension(0x4242, []byte("kept"))) || !bytes.Contains(b, extension(0x2a2a, nil)) {
			t.Error("an extension is lost")
		}
		if _, err := ecdh.X25519().NewPublicKey(b[bytes.Index(b, unhex(t, "fe0d"))+12:][:32]); err != nil {
			t.Error(err)
		}
	}
}

// A hello in several records is renewed as one in one record. A name that does not fit
// is an error.
func TestRenewedHelloIsOneRecord(t *testing.T) {
	whole := chrome(t, "example.com")
	hello := mustParse(t, fragment(whole, 1, 5, 900))
	b, err := hello.Renew("b.example")
	if err != nil {
		t.Fatal(err)
	}
	if n := RecordHeaderLength + int(binary.BigEndian.Uint16(b[3:])); n != len(b) || n != len(whole)-len("example.com")+len("b.example") {
		t.Errorf("a record of %d bytes, %d in all", n, len(b))
	}
	if _, err := hello.Renew(string(make([]byte, maxPlaintext))); err == nil {
		t.Error("a name of 16 KiB fits")
	}
	var none ClientHello
	if _, err := none.Renew("a.example"); err != errNotParsed {
		t.Error(err)
	}
}
