package tlswire

import (
	"encoding/hex"
	"slices"
	"strings"
	"testing"
)

// The ServerHello records and their JA3S are those of CyberChef's tests:
// https://github.com/gchq/CyberChef/blob/master/tests/operations/tests/JA3SFingerprint.mjs
// JA4S of the same hellos is computed by hand.
func TestJA3SOfPublishedServerHellosIsThePublishedOne(t *testing.T) {
	for _, c := range []struct{ record, ja3s string }{
		{"160301003d020000390301543dd2ddedbfe33895bd6bc676a3fa6b9fe5773a6e04d5476d1af3bcbc1dcbbb00c011000011ff01000100000b00040300010200230000", "bed95e1b525d2f41db3a6d68fac5b566"},
		{"160302003d020000390302543dd2ed88131999a0120d36c14a4139671d75aae3d7d7779081d3cf7dd7725a00c013000011ff01000100000b00040300010200230000", "130fac2dc19b142500acb0abc63b6379"},
		{"160303003d020000390303543dd328b38b445686739d58fab733fa23838f575e0e5ad9a1b9baace6cc3b4100c02f000011ff01000100000b00040300010200230000", "ccc514751b175866924439bdbb5bba34"},
	} {
		b, err := hex.DecodeString(c.record)
		if err != nil {
			t.Fatal(err)
		}
		h, err := FirstServerHello(b)
		if err != nil || h.JA3S() != c.ja3s {
			t.Errorf("%s: %s, %v, want %s", h.JA3SText(), h.JA3S(), err, c.ja3s)
		}
	}
}

func extensions(ids ...uint16) (e []Extension) {
	for _, id := range ids {
		e = append(e, Extension{ID: id})
	}
	return e
}

// The first value is the example of
// https://github.com/FoxIO-LLC/ja4/blob/main/technical_details/JA4S.md
// The others are the ones that the servers of many sites have.
func TestJA4SOfPublishedValuesIsThePublishedOne(t *testing.T) {
	tls13 := Extension{extensionSupportedVersions, []byte{3, 4}}
	for _, c := range []struct {
		hello ServerHello
		want  string
	}{
		{ServerHello{Version: 0x0303, Suite: 0xc030, Extensions: extensions(5, 0x17, 0xff01, 0)}, "t120400_c030_4e8089b08790"},
		{ServerHello{Version: 0x0303, Suite: 0x1301, Extensions: []Extension{{ID: extensionKeyShare}, tls13}}, "t130200_1301_234ea6891581"},
		{ServerHello{Version: 0x0303, Suite: 0x1302, Extensions: []Extension{tls13, {ID: extensionKeyShare}}}, "t130200_1302_a56c5b993250"},
		{ServerHello{Version: 0x0301, Suite: 0x002f}, "t100000_002f_000000000000"},
	} {
		if got := c.hello.JA4S(); got != c.want {
			t.Errorf("%+v: %s, want %s", c.hello, got, c.want)
		}
	}
	alpn := ServerHello{Version: 0x0303, Suite: 0xc02f, Extensions: []Extension{{extensionALPN, []byte("\x00\x09\x08http/1.1")}}}
	if got := alpn.JA4S(); !strings.HasPrefix(got, "t1201h1_c02f_") {
		t.Errorf("with http/1.1: %s", got)
	}
}

// The JA3S of a TLS 1.3 server with key_share first, as Suricata and others report
// it.
func TestJA3SOfTLS13IsThatOfOthers(t *testing.T) {
	h := ServerHello{Version: 0x0303, Suite: 0x1301, Extensions: extensions(extensionKeyShare, extensionSupportedVersions)}
	if h.JA3SText() != "771,4865,51-43" || h.JA3S() != "eb1d94daa7e0344597e756a1fb6e7054" {
		t.Errorf("%s: %s", h.JA3SText(), h.JA3S())
	}
}

// flight returns a TLS 1.3 server's flight with that random, key share and bodies
// of encrypted records.
func flight(random, key byte, sizes ...int) []byte {
	hello := []byte{3, 3}
	hello = append(hello, slices.Repeat([]byte{random}, 32)...)
	hello = append(hello, 2, 0xaa, 0xbb, 0x13, 0x01, 0)
	extensions := []byte{0, 43, 0, 2, 3, 4, 0, 51, 0, 36, 0, 0x1d, 0, 32}
	extensions = append(extensions, slices.Repeat([]byte{key}, 32)...)
	hello = append(append(hello, 0, byte(len(extensions))), extensions...)
	b := Append(nil, TypeHandshake, 0x0303, append([]byte{2, 0, 0, byte(len(hello))}, hello...))
	b = Append(b, TypeCCS, 0x0303, []byte{1})
	for _, size := range sizes {
		b = Append(b, TypeData, 0x0303, slices.Repeat([]byte{random}, size))
	}
	return b
}

// Descriptions are equal for flights that differ in random bytes, and differ with
// the suite, the group, the session ID, the length of a record and its place.
func TestDescriptionMasksOnlyWhatIsRandom(t *testing.T) {
	id := []byte{0xaa, 0xbb}
	want := Describe(flight(1, 2, 100, 200), id)
	if got := Describe(flight(3, 4, 100, 200), id); !slices.Equal(got, want) {
		t.Errorf("%q differs from %q", got, want)
	}
	if !strings.Contains(want[1], "the client's") || !strings.Contains(want[1], "0033(001d0020, 32)") {
		t.Errorf("the ServerHello is described as %q", want[1])
	}
	change := func(at int, b byte) []byte {
		f := flight(1, 2, 100, 200)
		f[at] = b
		return f
	}
	for name, other := range map[string][]byte{
		"suite":           change(5+4+2+32+3+1, 2),
		"session ID":      change(5+4+2+32+1, 0xcc),
		"group":           change(5+4+2+32+3+2+1+2+6+4+1, 0x17),
		"record length":   flight(1, 2, 100, 201),
		"number":          flight(1, 2, 300),
		"record version":  change(2, 1),
		"one byte less":   flight(1, 2, 100, 200)[:len(flight(1, 2, 100, 199))],
		"an alert":        append(flight(1, 2, 100, 200), 0x15, 3, 3, 0, 2, 2, 40),
		"text at the end": append(flight(1, 2, 100, 200), "HTTP/1.1 400"...),
	} {
		if slices.Equal(Describe(other, id), want) {
			t.Errorf("another %s makes no difference: %q", name, want)
		}
	}
}

func TestMergedRecordsAreAsLongAsOne(t *testing.T) {
	one, two := Merge(Describe(flight(1, 2, 305), nil)), Merge(Describe(flight(1, 2, 100, 200), nil))
	if !slices.Equal(one, two) {
		t.Errorf("%q and %q", one, two)
	}
	if slices.Equal(one, Merge(Describe(flight(1, 2, 306), nil))) {
		t.Errorf("another length is merged to %q too", one)
	}
}

// In text, dates are masked and nothing else.
func TestTextIsDescribedWithoutItsDate(t *testing.T) {
	response := func(date, server string) []string {
		return Describe([]byte("HTTP/1.1 400 Bad Request\r\nDate: "+date+"\r\nServer: "+server+"\r\n\r\n"), nil)
	}
	a := response("Tue, 03 Feb 2026 01:02:03 GMT", "nginx")
	if b := response("Wed, 04 Feb 2026 11:12:13 GMT", "nginx"); !slices.Equal(a, b) {
		t.Errorf("%q and %q", a, b)
	}
	if b := response("Wed, 04 Feb 2026 11:12:13 GMT", "nginx/1"); slices.Equal(a, b) {
		t.Errorf("another server is %q too", a)
	}
}

// A message of TLS 1.2's key exchange is described by its curve and its lengths, a
// certificate by its digest.
func TestTLS12MessagesAreDescribed(t *testing.T) {
	exchange := func(key byte, curve byte) []string {
		m := []byte{3, 0, curve, 4, key, key, key, key, 8, 4, 0, 2, key, key}
		certificate := []byte{11, 0, 0, 3, 1, 2, 3}
		return Describe(Append(nil, TypeHandshake, 0x0303, append(append(certificate, typeServerKeyExchange, 0, 0, byte(len(m))), m...)), nil)
	}
	if a, b := exchange(1, 0x1d), exchange(2, 0x1d); !slices.Equal(a, b) || len(a) != 3 {
		t.Errorf("%q and %q", a, b)
	}
	if a, b := exchange(1, 0x1d), exchange(1, 0x17); slices.Equal(a, b) {
		t.Errorf("another curve is %q too", a)
	}
}

func FuzzDescribe(f *testing.F) {
	f.Add(flight(1, 2, 3), []byte{1})
	f.Add([]byte("HTTP/1.1 200 OK\r\n\r\n"), []byte(nil))
	f.Fuzz(func(t *testing.T, b, id []byte) {
		if lines := Describe(b, id); (len(lines) == 0) != (len(b) == 0) {
			t.Errorf("%x is %q", b, lines)
		}
		FirstServerHello(b)
	})
}
