package probe

import (
	"encoding/hex"
	"slices"
	"strings"
	"time"
)

// silenceProbes send nothing, at least for a while.
func silenceProbes() []Probe {
	return []Probe{
		{Name: "silence/forever", Steps: steps()},
		{Name: "silence/fin", Steps: steps(Step{Fin: true})},
		{Name: "silence/fin-after-1s", Steps: steps(Step{Pause: time.Second}, Step{Fin: true})},
		{Name: "silence/hello-after-4s", Steps: steps(Step{Pause: 4 * time.Second}, Step{Data: newHello("after silence").bytes()})},
		{Name: "silence/http-after-4s", Steps: steps(Step{Pause: 4 * time.Second}, Step{Data: []byte("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")})},
		{Name: "silence/byte-16-after-4s", Steps: steps(Step{Pause: 4 * time.Second}, Step{Data: []byte{0x16}})},
	}
}

// shortProbes send up to five bytes and then nothing.
func shortProbes() (all []Probe) {
	for _, text := range []string{
		"16", "47", "80", "00", "ff", "ef", "15", "17", "05", "0d", // a hello, "G", SSLv2, Abridged, an alert, data, SOCKS5
		"1603", "4745", "0d0a", "802e",
		"160301", "efefef",
		"16030102", "47455420", "dddddddd", "eeeeeeee",
		"1603010200", "160301ffff", "1603010000", "1703030035", "474554202f",
	} {
		data, err := hex.DecodeString(text)
		if err != nil {
			panic("internal error: " + err.Error())
		}
		all = append(all, Probe{Name: "short/" + text, Steps: send(data)})
		if slices.Contains([]string{"16", "47", "80", "1603010200"}, text) {
			all = append(all, Probe{Name: "short/" + text + "-fin", Steps: sendFin(data)})
		}
	}
	return all
}

// partialHelloProbes send a ClientHello slowly, or a part of it.
func partialHelloProbes() []Probe {
	hello := newHello("partial").bytes()
	half := hello[:len(hello)/2]
	pieces := func(b []byte, size int, pause time.Duration) func(*Env) ([]Step, error) {
		var all []Step
		for piece := range slices.Chunk(b, size) {
			all = append(all, Step{Data: piece, Pause: pause})
		}
		return steps(all...)
	}
	return []Probe{
		{Name: "partial/half", Steps: send(half)},
		{Name: "partial/half-fin", Steps: sendFin(half)},
		{Name: "partial/all-but-one", Steps: send(hello[:len(hello)-1])},
		{Name: "partial/two-pieces-1s", Steps: steps(Step{Data: half, Pause: time.Second}, Step{Data: hello[len(half):]})},
		{Name: "partial/first-byte-1s", Steps: steps(Step{Data: hello[:1], Pause: time.Second}, Step{Data: hello[1:]})},
		{Name: "partial/pieces-of-16-20ms", Steps: pieces(hello, 16, 20*time.Millisecond)},
		{Name: "partial/byte-each-second", Steps: pieces(hello, 1, time.Second)},
	}
}

// protocolProbes are the first bytes of other protocols.
func protocolProbes() []Probe {
	hello := newHello("behind a header").bytes()
	long := func(s string) string { return s + strings.Repeat("x", 64) }
	return []Probe{
		{Name: "protocol/ssh", Steps: send("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n")},
		{Name: "protocol/smtp", Steps: send("EHLO example.com\r\n")},
		{Name: "protocol/rdp", Steps: send("\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00")},
		{Name: "protocol/socks4", Steps: send("\x04\x01\x00\x50\x7f\x00\x00\x01\x00")},
		{Name: "protocol/socks5", Steps: send("\x05\x01\x00")},
		{Name: "protocol/redis", Steps: send("PING\r\n")},
		{Name: "protocol/memcached", Steps: send("stats\r\n")},
		{Name: "protocol/bittorrent", Steps: send(append([]byte("\x13BitTorrent protocol\x00\x00\x00\x00\x00\x00\x00\x00"), bytesOf("bittorrent", 40)...))},
		{Name: "protocol/dns", Steps: send("\x00\x1d\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07version\x04bind\x00\x00\x10\x00\x03")},
		{Name: "protocol/mqtt", Steps: send("\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a")},
		{Name: "protocol/irc", Steps: send("NICK a\r\nUSER a 0 * :a\r\n")},
		{Name: "protocol/openvpn", Steps: send("\x00\x0e\x38abcdefgh\x00\x00\x00\x00\x00")},
		{Name: "protocol/postgres", Steps: send("\x00\x00\x00\x08\x04\xd2\x16\x2f")},
		{Name: "protocol/proxy-v1", Steps: send(append([]byte("PROXY TCP4 192.0.2.1 192.0.2.2 1000 443\r\n"), hello...))},
		{Name: "protocol/proxy-v2", Steps: send(append([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x03\xe8\x01\xbb"), hello...))},
		{Name: "protocol/text", Steps: send(long("hello\r\n"))},
	}
}

// randomProbes send bytes without a structure.
func randomProbes() (all []Probe) {
	for _, n := range []int{1, 2, 3, 5, 16, 32, 63, 64, 65, 72, 100, 200, 517, 1000, 4096} {
		name := "random/" + itoa(n)
		all = append(all, Probe{Name: name, Steps: send(bytesOf(name, n))})
	}
	return append(all,
		Probe{Name: "random/63-fin", Steps: sendFin(bytesOf("random/63-fin", 63))},
		Probe{Name: "random/64-fin", Steps: sendFin(bytesOf("random/64-fin", 64))},
		Probe{Name: "random/63-then-1", Steps: steps(Step{Data: bytesOf("random/63-then-1", 63), Pause: time.Second}, Step{Data: []byte{1}})},
		Probe{Name: "random/zeros-64", Steps: send(make([]byte, 64))},
		Probe{Name: "random/ff-64", Steps: send(strings.Repeat("\xff", 64))},
	)
}
