package faketls

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var (
	vectorKey  = [16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	otherKey   = [16]byte{0xff}
	vectorTime = time.Unix(1767225600, 0)
)

func vectorClock() time.Time { return vectorTime }

// unsignedHello returns the hello of the worked example without its random: 517 bytes,
// all of them zero after the session ID.
func unsignedHello(t testing.TB) []byte {
	record := unhex(t, "1603010200 010001fc 0303"+strings.Repeat("00", 32)+"20"+strings.Repeat("11", 32))
	return append(record, make([]byte, 517-len(record))...)
}

func signedHello(t testing.TB) []byte {
	record := unsignedHello(t)
	signClientHello(record, vectorKey, vectorTime)
	return record
}

func mustParse(t testing.TB, b []byte) ClientHello {
	t.Helper()
	hello, n, err := ParseClientHello(b)
	if err != nil || n != len(b) {
		t.Fatalf("ParseClientHello of %d bytes: n = %d, %v", len(b), n, err)
	}
	return hello
}

// buildHello returns a signed hello with two cipher suites and these extensions.
func buildHello(t testing.TB, extensions ...[]byte) []byte {
	t.Helper()
	return buildHelloWith(t, []byte{0x1a, 0x1a, 0x13, 0x02}, extensions...)
}

// buildHelloWith is buildHello with other cipher suites.
func buildHelloWith(t testing.TB, suites []byte, extensions ...[]byte) []byte {
	t.Helper()
	all := bytes.Join(extensions, nil)
	message := unsignedHello(t)[RecordHeaderLength:sessionEnd]
	message = binary.BigEndian.AppendUint16(message, uint16(len(suites)))
	message = append(append(message, suites...), 1, 0)
	message = binary.BigEndian.AppendUint16(message, uint16(len(all)))
	message = append(message, all...)
	binary.BigEndian.PutUint16(message[2:], uint16(len(message)-handshakeHeaderLength))
	record := binary.BigEndian.AppendUint16([]byte{0x16, 3, 1}, uint16(len(message)))
	record = append(record, message...)
	signClientHello(record, vectorKey, vectorTime)
	return record
}

func extension(id uint16, body []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, id)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	return append(b, body...)
}

func keyShares(group uint16, size int) []byte {
	b := []byte{0, 0, 0x0a, 0x0a, 0, 1, 0} // GREASE first
	b = binary.BigEndian.AppendUint16(b, group)
	b = binary.BigEndian.AppendUint16(b, uint16(size))
	b = append(b, make([]byte, size)...)
	binary.BigEndian.PutUint16(b, uint16(len(b)-2))
	return b
}

// fragment returns the message of a one-record hello in records of the given sizes and
// a last one with the rest.
func fragment(record []byte, sizes ...int) []byte {
	var out []byte
	body := record[RecordHeaderLength:]
	for _, n := range append(sizes, len(body)-sum(sizes)) {
		out = append(out, record[:3]...)
		out = binary.BigEndian.AppendUint16(out, uint16(n))
		out = append(out, body[:n]...)
		body = body[n:]
	}
	return out
}

func sum(values []int) (total int) {
	for _, v := range values {
		total += v
	}
	return total
}

// tcpPair returns the two ends of a TCP connection.
func tcpPair(t testing.TB) (client, server *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); s.Close() })
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

func readN(t testing.TB, r io.Reader, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		t.Fatal(err)
	}
	return b
}

// clientShareMLKEM is the length of a client's key share for X25519MLKEM768: ML-KEM
// key, X25519 key.
const clientShareMLKEM = 1184 + 32

// fixed is a Reader of one repeated byte.
type fixed byte

func (f fixed) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(f)
	}
	return len(p), nil
}

// appendRecords appends p in records of at most limit bytes each.
func appendRecords(dst, p []byte, limit int) []byte {
	for len(p) > 0 {
		n := min(len(p), limit)
		dst = append(AppendRecordHeader(dst, n), p[:n]...)
		p = p[n:]
	}
	return dst
}
