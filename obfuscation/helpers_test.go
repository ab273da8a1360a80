package obfuscation

import (
	"bytes"
	"encoding/hex"
	"strings"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// example is a worked example: a fixed init payload, a packet of the client, and a
// transport error of the server.
type example struct {
	name     string
	protocol frame.Protocol
	dc       datacenter.DC
	secret   string
	wire     string // bytes 56..64
	packet   string // reqPQMulti in its envelope, encrypted
	answer   string // -404, encrypted
}

var examples = []example{
	{"no secret, intermediate, DC 2", frame.Intermediate, 2, "", "33bd9484f1fbdbc1",
		"f5004d2a9d4aeedc3c99effa13004de8239e3858419015143bf329580ad1ecf5f3a188fd0c9174fbc02c7185", "fc8d187a86e838b0"},
	{"secret, abridged, media DC 4", frame.Abridged, -4, "000102030405060708090a0b0c0d0e0f", "b23c0578356fb2ae",
		"fef2e1af44ff957665438c79bee2b2f411b11e0b80f5bfffcb0d27cff1d1e2439e01861c96a553e6e0", "602c969408"},
	{"dd secret, padded, test DC 2", frame.PaddedIntermediate, 10002, "dd000102030405060708090a0b0c0d0e0f", "800e374adbb7b2ae",
		"dbf2e1af44ff9576653bda4dd4b4869676a56e6c940431818423f8d3f2d4e5469d0c891195a054e3e346351589fd317a148d8a", "6540686b9b375188"},
	{"dd secret of the official example, padded, media DC 4", frame.PaddedIntermediate, -4, "dd99999999999999999999999999999999", "139d222a24e44b01",
		"62983e332ce7ff72fa462637a1902823bd34297566b2b7cda48ee1ed207299149decd8554a38a8eef9075567d42821e37ca7d2", "2925c0fd44c7f50e"},
}

// random returns the bytes that the examples' init payloads are drawn from: 01, 02,
// ... 38 (hexadecimal), six that the tag and the DC overwrite, aa bb.
func random() []byte {
	b := make([]byte, InitLength)
	for i := range b[:56] {
		b[i] = byte(i + 1)
	}
	b[62], b[63] = 0xaa, 0xbb
	return b
}

func (e example) keys() [][16]byte {
	if e.secret == "" {
		return nil
	}
	return [][16]byte{[16]byte(unhex(strings.TrimPrefix(e.secret, "dd")))}
}

func (e example) client() *ClientConfig {
	c := &ClientConfig{Protocol: e.protocol, DC: e.dc, Rand: bytes.NewReader(random())}
	if keys := e.keys(); keys != nil {
		c.Key = &keys[0]
	}
	return c
}

var reqPQMulti = unhex("0000000000000000785634120000706714000000f18e7ebea0a1a2a3a4a5a6a7a8a9aaabacadaeaf")

// manyKeys returns n different keys.
func manyKeys(n int) [][16]byte {
	keys := make([][16]byte, n)
	for i := range keys {
		keys[i] = [16]byte{byte(i), byte(i >> 8), 1}
	}
	return keys
}
