package probe

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"slices"

	utls "github.com/refraction-networking/utls"

	"github.com/mtwire/mtwire/interop/probes/site"
	"github.com/mtwire/mtwire/interop/probes/tlswire"
)

// Extensions.
//
// Specification: https://www.iana.org/assignments/tls-extensiontype-values/
const (
	extServerName          = 0
	extMaxFragmentLength   = 1
	extSupportedGroups     = 10
	extPointFormats        = 11
	extSignatureAlgorithms = 13
	extALPN                = 16
	extPadding             = 21
	extExtendedMaster      = 23
	extSessionTicket       = 35
	extPreSharedKey        = 41
	extEarlyData           = 42
	extSupportedVersions   = 43
	extPSKModes            = 45
	extKeyShare            = 51
)

// clientHello is a ClientHello of any shape, malformed ones included. The zero value
// is not useful: newHello returns one that every site accepts.
type clientHello struct {
	record     uint16 // version of the record
	version    uint16
	random     []byte
	session    []byte
	suites     []uint16
	methods    []byte // compression
	extensions []extension
	trailing   []byte // after the extensions, within the message
}

type extension struct {
	id   uint16
	body []byte
}

// bytesOf returns n bytes that depend only on the name.
func bytesOf(name string, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8(sha256.Sum256([]byte(name))).Read(b)
	return b
}

// newHello returns the hello of a client like curl. Its random bytes depend only on
// the name.
func newHello(name string) *clientHello {
	random := bytesOf(name, 96)
	return &clientHello{
		record: 0x0301, version: 0x0303,
		random: random[:32], session: random[32:64],
		suites:  []uint16{0x1302, 0x1303, 0x1301, 0xc02c, 0xc030, 0xc02b, 0xc02f, 0xcca9, 0xcca8, 0x009d, 0x009c, 0x0035, 0x002f},
		methods: []byte{0},
		extensions: []extension{
			{extServerName, serverName(site.Domain)},
			{extPointFormats, []byte{3, 0, 1, 2}},
			{extSupportedGroups, list16(0x001d, 0x0017, 0x0018)},
			{extSessionTicket, nil},
			{extALPN, protocols("h2", "http/1.1")},
			{extExtendedMaster, nil},
			{extSignatureAlgorithms, list16(0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601)},
			{extSupportedVersions, append([]byte{4}, u16(0x0304, 0x0303)...)},
			{extPSKModes, []byte{1, 1}},
			{extKeyShare, keyShare(0x001d, random[64:])},
		},
	}
}

func u16(values ...uint16) (b []byte) {
	for _, v := range values {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	return b
}

// vector16 prefixes b with its length.
func vector16(b []byte) []byte { return append(u16(uint16(len(b))), b...) }

func list16(values ...uint16) []byte { return vector16(u16(values...)) }

func serverName(name string) []byte {
	return vector16(append([]byte{0}, vector16([]byte(name))...))
}

func protocols(names ...string) []byte {
	var b []byte
	for _, name := range names {
		b = append(append(b, byte(len(name))), name...)
	}
	return vector16(b)
}

func keyShare(group uint16, key []byte) []byte {
	return vector16(append(u16(group), vector16(key)...))
}

// set replaces the extension's body, or adds the extension before the last one.
func (h *clientHello) set(id uint16, body []byte) *clientHello {
	if i := slices.IndexFunc(h.extensions, func(e extension) bool { return e.id == id }); i >= 0 {
		h.extensions[i].body = body
		return h
	}
	h.extensions = slices.Insert(h.extensions, len(h.extensions)-1, extension{id, body})
	return h
}

// without removes extensions.
func (h *clientHello) without(ids ...uint16) *clientHello {
	h.extensions = slices.DeleteFunc(h.extensions, func(e extension) bool { return slices.Contains(ids, e.id) })
	return h
}

// message returns the handshake message.
func (h *clientHello) message() []byte {
	var extensions []byte
	for _, e := range h.extensions {
		extensions = append(append(extensions, u16(e.id)...), vector16(e.body)...)
	}
	b := u16(h.version)
	b = append(b, h.random...)
	b = append(append(b, byte(len(h.session))), h.session...)
	b = append(b, list16(h.suites...)...)
	b = append(append(b, byte(len(h.methods))), h.methods...)
	if len(extensions) > 0 {
		b = append(b, vector16(extensions)...)
	}
	b = append(b, h.trailing...)
	return append([]byte{1, byte(len(b) >> 16), byte(len(b) >> 8), byte(len(b))}, b...)
}

// bytes returns the message in one record.
func (h *clientHello) bytes() []byte {
	return tlswire.Append(nil, tlswire.TypeHandshake, h.record, h.message())
}

// split returns the message in records of at most size bytes.
func (h *clientHello) split(size int) (b []byte) {
	for part := range slices.Chunk(h.message(), size) {
		b = tlswire.Append(b, tlswire.TypeHandshake, h.record, part)
	}
	return b
}

// VisitorHello returns the hello of a client like curl. Its random bytes depend only
// on the name.
func VisitorHello(name string) []byte { return newHello(name).bytes() }

// LargeHello is VisitorHello with a record of 16 KiB.
func LargeHello(name string) []byte {
	h := newHello(name)
	return h.set(extPadding, make([]byte, 16<<10-len(h.message())-4)).bytes()
}

// SignedHello returns a FakeTLS hello with Secret that was not used before.
func SignedHello() ([]byte, error) { return fakeHello(eeKey, site.Domain, 0) }

// browserHello returns the hello of a browser, with new random bytes.
func browserHello(id utls.ClientHelloID) ([]byte, error) {
	conn := utls.UClient(nil, &utls.Config{ServerName: site.Domain}, id)
	if err := conn.BuildHandshakeState(); err != nil {
		return nil, err
	}
	return tlswire.Append(nil, tlswire.TypeHandshake, 0x0301, conn.HandshakeState.Hello.Raw), nil
}

// goHello returns the hello of package crypto/tls, with new random bytes.
func goHello() ([]byte, error) {
	tap := &tapConn{Conn: deadConn{}}
	err := tls.Client(tap, &tls.Config{ServerName: site.Domain, NextProtos: []string{"h2", "http/1.1"}}).Handshake()
	if len(tap.sent) == 0 {
		return nil, err
	}
	return tap.sent, nil
}

// deadConn takes bytes, and has none.
type deadConn struct{ net.Conn }

func (deadConn) Write(b []byte) (int, error) { return len(b), nil }
func (deadConn) Read([]byte) (int, error)    { return 0, io.EOF }
func (deadConn) Close() error                { return nil }

// sentSessionID returns the session ID of a ClientHello at the start of what a
// client sends, nil if there is none.
func sentSessionID(b []byte) []byte {
	const at = tlswire.HeaderLength + 4 + 2 + 32
	if len(b) <= at || b[0] != tlswire.TypeHandshake || len(b) < at+1+int(b[at]) {
		return nil
	}
	return b[at+1:][:b[at]]
}
