package probe

import (
	"bytes"
	"slices"
	"strings"

	utls "github.com/refraction-networking/utls"

	"github.com/mtwire/mtwire/interop/probes/site"
	"github.com/mtwire/mtwire/interop/probes/tlswire"
)

func record(kind byte, version uint16, body string) []byte {
	return tlswire.Append(nil, kind, version, []byte(body))
}

// afterHelloBytes are what a client sends behind a complete hello that is not an
// answer to the flight.
var afterHelloBytes = []struct {
	name string
	data []byte
	fin  bool
}{
	{name: "silence"},
	{name: "fin", fin: true},
	{name: "one-byte", data: []byte{0x17}},
	{name: "garbage", data: bytesOf("garbage", 100)},
	{name: "garbage-fin", data: bytesOf("garbage", 100), fin: true},
	{name: "bad-record", data: record(0x63, 0x0303, strings.Repeat("a", 32))},
	{name: "data-53", data: record(tlswire.TypeData, 0x0303, string(bytesOf("data", 53)))},
	{name: "data-17", data: record(tlswire.TypeData, 0x0303, string(bytesOf("data", 17)))},
	{name: "data-empty", data: record(tlswire.TypeData, 0x0303, "")},
	{name: "data-too-long", data: record(tlswire.TypeData, 0x0303, string(bytesOf("data", 16<<10+257)))},
	{name: "data-unfinished", data: record(tlswire.TypeData, 0x0303, string(bytesOf("data", 53)))[:20]},
	{name: "ccs-data-53", data: append(record(tlswire.TypeCCS, 0x0303, "\x01"), record(tlswire.TypeData, 0x0303, string(bytesOf("data", 53)))...)},
	{name: "ccs", data: record(tlswire.TypeCCS, 0x0303, "\x01")},
	{name: "ccs-40", data: bytes.Repeat(record(tlswire.TypeCCS, 0x0303, "\x01"), 40)},
	{name: "ccs-bad", data: record(tlswire.TypeCCS, 0x0303, "\x02")},
	{name: "alert-fatal", data: record(tlswire.TypeAlert, 0x0303, "\x02\x28")},
	{name: "alert-close", data: record(tlswire.TypeAlert, 0x0303, "\x01\x00")},
	{name: "hello-again", data: newHello("again").bytes()},
	{name: "http", data: []byte("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")},
}

// afterHelloProbes send a complete hello and something else behind it.
func afterHelloProbes() (all []Probe) {
	hello := newHello("after hello").bytes()
	for _, a := range afterHelloBytes {
		all = append(all, Probe{Name: "after-hello/" + a.name, Steps: steps(Step{Data: hello}, Step{Await: true, Data: a.data, Fin: a.fin})})
	}
	for _, a := range afterHelloBytes[2:9] { // in the same segment
		all = append(all, Probe{Name: "after-hello/at-once-" + a.name, Steps: steps(Step{Data: slices.Concat(hello, a.data), Fin: a.fin})})
	}
	megabyte := bytesOf("megabyte", 1<<20)
	return append(all, Probe{Name: "after-hello/megabyte", Steps: steps(Step{Data: hello}, Step{Data: megabyte}), Repeat: 10})
}

// recordProbes send records that are no hello, and hellos of old versions.
func recordProbes() []Probe {
	old := func(version uint16) []byte {
		h := newHello("old").without(extSupportedVersions, extKeyShare, extPSKModes)
		h.version = version
		h.suites = []uint16{0xc013, 0xc014, 0x002f, 0x0035, 0x000a}
		if version == 0x0303 {
			h.suites = []uint16{0xc02f, 0xc030, 0xc013, 0x009c, 0x002f}
		}
		if version < 0x0301 {
			h.record, h.extensions = version, nil
		}
		return h.bytes()
	}
	sslv2 := func(version string) []byte {
		// Two bytes of length, CLIENT-HELLO, version, lengths of the suites,
		// the session ID and the challenge.
		body := "\x01" + version + "\x00\x0c\x00\x00\x00\x10" +
			"\x07\x00\xc0\x01\x00\x80\x00\x00\x2f\x00\x00\x35" + string(bytesOf("sslv2", 16))
		return append([]byte{0x80, byte(len(body))}, body...)
	}
	return []Probe{
		{Name: "record/alert-fatal", Steps: send(record(tlswire.TypeAlert, 0x0301, "\x02\x28"))},
		{Name: "record/alert-close", Steps: send(record(tlswire.TypeAlert, 0x0303, "\x01\x00"))},
		{Name: "record/alert-half", Steps: send(record(tlswire.TypeAlert, 0x0303, "\x02"))},
		{Name: "record/ccs", Steps: send(record(tlswire.TypeCCS, 0x0303, "\x01"))},
		{Name: "record/heartbeat", Steps: send(record(tlswire.TypeHeartbeat, 0x0302, "\x01\x40\x00"))},
		{Name: "record/data-53", Steps: send(record(tlswire.TypeData, 0x0303, string(bytesOf("data", 53))))},
		{Name: "record/data-200", Steps: send(record(tlswire.TypeData, 0x0303, string(bytesOf("data", 200))))},
		{Name: "record/hello-request", Steps: send(record(tlswire.TypeHandshake, 0x0301, "\x00\x00\x00\x00"))},
		{Name: "record/server-hello", Steps: send(record(tlswire.TypeHandshake, 0x0303, "\x02\x00\x00\x26\x03\x03"+string(bytesOf("server", 32))+"\x00\x13\x01\x00"))},
		{Name: "record/finished", Steps: send(record(tlswire.TypeHandshake, 0x0303, "\x14\x00\x00\x0c"+string(bytesOf("finished", 12))))},
		{Name: "record/handshake-empty", Steps: send(record(tlswire.TypeHandshake, 0x0301, ""))},
		{Name: "record/hello-of-4g", Steps: send(record(tlswire.TypeHandshake, 0x0301, "\x01\xff\xff\xff\x03\x03"+string(bytesOf("4g", 32))))},
		{Name: "record/too-long", Steps: send(record(tlswire.TypeHandshake, 0x0301, "\x01\x00\x40\xfd\x03\x03"+string(bytesOf("long", 16<<10+250))))},
		{Name: "record/version-0300", Steps: send(withRecordVersion(0x0300))},
		{Name: "record/version-0304", Steps: send(withRecordVersion(0x0304))},
		{Name: "record/version-0400", Steps: send(withRecordVersion(0x0400))},
		{Name: "record/version-0202", Steps: send(withRecordVersion(0x0202))},
		{Name: "record/sslv2", Steps: send(sslv2("\x00\x02"))},
		{Name: "record/sslv2-for-tls12", Steps: send(sslv2("\x03\x03"))},
		{Name: "record/sslv3", Steps: send(old(0x0300))},
		{Name: "record/tls10", Steps: send(old(0x0301))},
		{Name: "record/tls11", Steps: send(old(0x0302))},
		{Name: "record/tls12", Steps: send(old(0x0303))},
	}
}

func withRecordVersion(version uint16) []byte {
	h := newHello("record version")
	h.record = version
	return h.bytes()
}

// helloProbes send a complete ClientHello and wait.
func helloProbes() (all []Probe) {
	change := func(name string, change func(h *clientHello)) {
		h := newHello("hello/" + name)
		change(h)
		all = append(all, Probe{Name: "hello/" + name, Steps: send(h.bytes())})
	}
	for _, b := range []struct {
		name string
		id   utls.ClientHelloID
	}{
		{"chrome", utls.HelloChrome_Auto},
		{"chrome-100", utls.HelloChrome_100},
		{"firefox", utls.HelloFirefox_Auto},
		{"safari", utls.HelloSafari_Auto},
		{"ios", utls.HelloIOS_Auto},
	} {
		all = append(all, Probe{Name: "hello/" + b.name, Steps: func(*Env) ([]Step, error) {
			hello, err := browserHello(b.id)
			return []Step{{Data: hello}}, err
		}})
	}
	all = append(all, Probe{Name: "hello/go", Steps: func(*Env) ([]Step, error) {
		hello, err := goHello()
		return []Step{{Data: hello}}, err
	}})
	change("curl", func(h *clientHello) {})
	change("no-sni", func(h *clientHello) { h.without(extServerName) })
	change("other-sni", func(h *clientHello) { h.set(extServerName, serverName("other.example")) })
	change("upper-case-sni", func(h *clientHello) { h.set(extServerName, serverName("EXAMPLE.com")) })
	change("dotted-sni", func(h *clientHello) { h.set(extServerName, serverName(site.Domain+".")) })
	change("address-sni", func(h *clientHello) { h.set(extServerName, serverName("127.0.0.1")) })
	change("empty-sni", func(h *clientHello) { h.set(extServerName, serverName("")) })
	change("long-sni", func(h *clientHello) { h.set(extServerName, serverName(strings.Repeat("a.", 300)+"example")) })
	change("bad-sni", func(h *clientHello) { h.set(extServerName, []byte{0, 9, 0, 0, 20, 'a'}) })
	change("no-session-id", func(h *clientHello) { h.session = nil })
	change("long-session-id", func(h *clientHello) { h.session = bytesOf("session", 40) })
	change("only-tls13", func(h *clientHello) { h.set(extSupportedVersions, append([]byte{2}, u16(0x0304)...)) })
	change("only-tls12", func(h *clientHello) { h.set(extSupportedVersions, append([]byte{2}, u16(0x0303)...)) })
	change("unknown-version", func(h *clientHello) { h.set(extSupportedVersions, append([]byte{2}, u16(0x0305)...)) })
	change("legacy-0304", func(h *clientHello) { h.version = 0x0304 })
	change("legacy-0200", func(h *clientHello) { h.version = 0x0200 })
	change("no-common-suite", func(h *clientHello) { h.suites = []uint16{0x00ff, 0x1399} })
	change("no-suites", func(h *clientHello) { h.suites = nil })
	change("suite-1301-first", func(h *clientHello) { h.suites = []uint16{0x1301, 0x1302, 0x1303} })
	change("suite-1303-only", func(h *clientHello) { h.suites = []uint16{0x1303} })
	change("scsv-fallback", func(h *clientHello) {
		h.without(extSupportedVersions, extKeyShare)
		h.version, h.suites = 0x0302, append(h.suites, 0x5600)
	})
	change("no-key-share", func(h *clientHello) { h.set(extKeyShare, vector16(nil)) })
	change("missing-key-share", func(h *clientHello) { h.without(extKeyShare) })
	change("p384-only", func(h *clientHello) {
		h.set(extSupportedGroups, list16(0x0018)).set(extKeyShare, vector16(nil))
	})
	change("unknown-group", func(h *clientHello) {
		h.set(extSupportedGroups, list16(0x7777)).set(extKeyShare, keyShare(0x7777, bytesOf("group", 32)))
	})
	change("zero-share", func(h *clientHello) { h.set(extKeyShare, keyShare(0x001d, make([]byte, 32))) })
	change("short-share", func(h *clientHello) { h.set(extKeyShare, keyShare(0x001d, make([]byte, 31))) })
	change("no-common-signature", func(h *clientHello) { h.set(extSignatureAlgorithms, list16(0x7777)) })
	change("compression", func(h *clientHello) { h.methods = []byte{1} })
	change("no-compression", func(h *clientHello) { h.methods = nil })
	change("extension-twice", func(h *clientHello) { h.extensions = append(h.extensions, h.extensions[1]) })
	change("no-extensions", func(h *clientHello) { h.extensions = nil })
	change("extensions-200", func(h *clientHello) {
		for i := range 200 {
			h.set(uint16(0x4000+i), []byte{byte(i)})
		}
	})
	change("trailing-bytes", func(h *clientHello) { h.trailing = []byte("abc") })
	change("16k", func(h *clientHello) { h.set(extPadding, make([]byte, 16<<10-len(h.message())-4)) })
	change("alpn-unknown", func(h *clientHello) { h.set(extALPN, protocols("frob")) })
	change("alpn-http1", func(h *clientHello) { h.set(extALPN, protocols("http/1.1")) })
	change("alpn-none", func(h *clientHello) { h.without(extALPN) })
	change("alpn-empty", func(h *clientHello) { h.set(extALPN, protocols()) })
	change("max-fragment", func(h *clientHello) { h.set(extMaxFragmentLength, []byte{1}) })
	preShared := slices.Concat(
		vector16(append(vector16(bytesOf("ticket", 192)), 0, 0, 0, 1)),
		vector16(append([]byte{32}, bytesOf("binder", 32)...)))
	change("psk-unknown", func(h *clientHello) { h.extensions = append(h.extensions, extension{extPreSharedKey, preShared}) })
	change("early-data", func(h *clientHello) {
		h.extensions = append(h.extensions, extension{extEarlyData, nil}, extension{extPreSharedKey, preShared})
	})
	h := newHello("hello/split")
	all = append(all,
		Probe{Name: "hello/split-in-3", Steps: send(h.split(len(h.message())/3 + 1))},
		Probe{Name: "hello/split-in-20", Steps: send(h.split(len(h.message())/20 + 1))},
		Probe{Name: "hello/split-in-bytes", Steps: send(h.split(1))},
		Probe{Name: "hello/joined-with-rest", Steps: send(append(h.bytes(), h.bytes()[:40]...))},
	)
	change30k := newHello("hello/30k").set(extPadding, make([]byte, 30<<10))
	return append(all, Probe{Name: "hello/30k-in-2", Steps: send(change30k.split(16 << 10))})
}
