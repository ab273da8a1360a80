package faketls

import (
	"testing"

	"github.com/mtwire/mtwire/vectors"
)

// recordedHellos returns the first messages of real FakeTLS clients.
func recordedHellos(t testing.TB) map[string][]byte {
	t.Helper()
	cases, err := vectors.Load("recorded")
	if err != nil {
		t.Fatal(err)
	}
	hellos := make(map[string][]byte)
	for _, c := range cases {
		wire, _ := c.Get("wire")
		if secret, _ := c.Get("secret"); len(secret) < 2 || secret[:2] != "ee" {
			continue
		}
		b := unhex(t, wire)
		_, n, err := ParseClientHello(b)
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		hellos[c.Name] = b[:n]
	}
	if len(hellos) < 4 {
		t.Fatalf("%d recorded hellos", len(hellos))
	}
	return hellos
}

// All hellos of one client are of one kind, although their random bytes, GREASE
// values, domains and order of extensions differ. Clients with other extensions are of other kinds.
func TestHellosOfOneClientAreOfOneKind(t *testing.T) {
	kindOf := func(domain string) Kind {
		hello := mustParse(t, chrome(t, domain))
		return hello.Kind()
	}
	want := kindOf("a.example")
	if want == (Kind{}) {
		t.Fatal("a hello has no kind")
	}
	for range 30 {
		if got := kindOf("another.example"); got != want || got.Distance(want) != 0 {
			t.Fatalf("%+v, want %+v", got, want)
		}
	}
	kinds := map[Kind]bool{want: true}
	for _, client := range []string{"tdlib-ee", "desktop-ee"} {
		hello := mustParse(t, recordedHellos(t)[client])
		if kinds[hello.Kind()] {
			t.Errorf("%s has the kind of another client", client)
		}
		kinds[hello.Kind()] = true
	}
}

// A kind depends on what a server's answer depends on, and on nothing else. A
// difference that shows in clear weighs more than one in a length.
func TestKindIsWhatAServersAnswerDependsOn(t *testing.T) {
	parts := func(change map[uint16]string) (extensions [][]byte) {
		for _, e := range []struct {
			id   uint16
			body string
		}{
			{extensionServerName, "0004 00 0001 61"},
			{extensionGroups, "0006 1a1a 001d 0017"},
			{extensionSignatures, "0004 0403 0804"},
			{extensionALPN, "0003 02 6832"},
			{extensionVersions, "06 2a2a 0304 0303"},
			{extensionKeyShare, "000a 3a3a 0001 00 001d 0001 07"},
			{27, "02 0002"},
			{extensionECH, "00 0001 0001 22 0000 0001 33"},
		} {
			if body, ok := change[e.id]; ok {
				e.body = body
			}
			if e.body != "none" {
				extensions = append(extensions, extension(e.id, unhex(t, e.body)))
			}
		}
		return extensions
	}
	kindOf := func(suites string, extensions ...[]byte) Kind {
		hello := mustParse(t, buildHelloWith(t, unhex(t, suites), extensions...))
		return hello.Kind()
	}
	const suites = "1a1a 1301 1302 c02b"
	base := kindOf(suites, parts(nil)...)

	reordered := parts(nil)
	reordered[0], reordered[5] = reordered[5], reordered[0]
	for name, kind := range map[string]Kind{
		"GREASE":                  kindOf("2a2a 1301 1302 c02b", parts(map[uint16]string{extensionGroups: "0006 4a4a 001d 0017", extensionVersions: "06 5a5a 0304 0303"})...),
		"TLS 1.2 suites":          kindOf("1301 1302 c030", parts(nil)...),
		"the name":                kindOf(suites, parts(map[uint16]string{extensionServerName: "0005 00 0002 6263"})...),
		"keys":                    kindOf(suites, parts(map[uint16]string{extensionKeyShare: "000a 4a4a 0001 00 001d 0001 08"})...),
		"ECH":                     kindOf(suites, parts(map[uint16]string{extensionECH: "00 0001 0001 22 0000 0002 3344"})...),
		"order":                   kindOf(suites, reordered...),
		"padding and GREASE more": kindOf(suites, append(parts(nil), extension(extensionPadding, make([]byte, 9)), extension(0x2a2a, []byte{0}))...),
	} {
		if kind != base {
			t.Errorf("%s makes another kind", name)
		}
	}
	distances := map[string]int{}
	for name, kind := range map[string]Kind{
		"suites":     kindOf("1a1a 1302 1301 c02b", parts(nil)...),
		"shares":     kindOf(suites, parts(map[uint16]string{extensionKeyShare: "0005 0017 0001 07"})...),
		"groups":     kindOf(suites, parts(map[uint16]string{extensionGroups: "0004 0017 001d"})...),
		"no name":    kindOf(suites, parts(map[uint16]string{extensionServerName: "none"})...),
		"ALPN":       kindOf(suites, parts(map[uint16]string{extensionALPN: "0009 08 687474702f312e31"})...),
		"signatures": kindOf(suites, parts(map[uint16]string{extensionSignatures: "0004 0804 0403"})...),
		"others":     kindOf(suites, parts(map[uint16]string{27: "02 0001"})...),
		"one more":   kindOf(suites, append(parts(nil), extension(18, nil))...),
		"one fewer":  kindOf(suites, parts(map[uint16]string{extensionECH: "none"})...),
		"versions":   kindOf(suites, parts(map[uint16]string{extensionVersions: "02 0304"})...),
	} {
		distances[name] = kind.Distance(base)
		if kind == base || distances[name] == 0 || distances[name] != base.Distance(kind) {
			t.Errorf("%s: distances %d and %d", name, distances[name], base.Distance(kind))
		}
	}
	if distances["suites"] <= distances["shares"] || distances["shares"] <= distances["ALPN"] || distances["ALPN"] <= distances["others"] {
		t.Errorf("%v", distances)
	}
}

// The kind of a hello that is cut or malformed inside is a kind as well, and that of
// a zero ClientHello is zero.
func TestEveryHelloHasAKind(t *testing.T) {
	var none ClientHello
	if none.Kind() != (Kind{}) {
		t.Error("a zero ClientHello has a kind")
	}
	for _, body := range []string{"", "00", "00330004", "0033ffff00", "000a000400ff1d00"} {
		b := unsignedHello(t)[:sessionEnd]
		b = append(b, unhex(t, "0002 1301 0100"+"0000")...)
		b[len(b)-1] = byte(len(unhex(t, body)))
		b = append(b, unhex(t, body)...)
		b[3], b[4] = 0, byte(len(b)-RecordHeaderLength)
		b[7], b[8] = 0, byte(len(b)-RecordHeaderLength-handshakeHeaderLength)
		hello := mustParse(t, b)
		if hello.Kind() == (Kind{}) {
			t.Errorf("%q: no kind", body)
		}
		if _, err := hello.Renew("a.example"); err != nil {
			t.Errorf("%q: %v", body, err)
		}
	}
}

// A kind costs no allocation.
func TestKindDoesNotAllocate(t *testing.T) {
	hello := mustParse(t, chrome(t, "a.example"))
	if n := testing.AllocsPerRun(100, func() { hello.Kind() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkKind(b *testing.B) {
	hello := mustParse(b, chrome(b, "a.example"))
	for b.Loop() {
		hello.Kind()
	}
}
