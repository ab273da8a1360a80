package fronting

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/mtwire/mtwire/faketls"
	"golang.org/x/crypto/cryptobyte"
)

const (
	// flightGap is how long a host must send nothing before its flight is over.
	// The host then waits for the client's answer, so the gap costs only time.
	flightGap = 300 * time.Millisecond

	// longGap is flightGap where no TLS library knows that the flight is complete:
	// more than the round-trip time that may lie between two parts of it.
	longGap = time.Second

	// maxFlight is how many bytes a host may send before its flight is over: a
	// few times the limit of TLS libraries for a handshake.
	maxFlight = 1 << 20

	// maxClear is how many bytes of handshake messages in clear are kept: more
	// than a HelloRetryRequest and a ServerHello have.
	maxClear = 1 << 12

	// maxRecords is how many record lengths are kept.
	maxRecords = 1 << 12

	recordHeaderLength = 5
	handshakeRecord    = 0x16
	applicationData    = 0x17

	messageServerHello         = 2
	extensionSupportedVersions = 43
	extensionKeyShare          = 51
	versionTLS13               = 0x0304

	// maxRecordBody is the longest record body of TLS 1.3. A ServerHello of
	// FakeTLS has only one data record.
	//
	// Specification: https://www.rfc-editor.org/rfc/rfc8446#section-5.2
	maxRecordBody = 1<<14 + 256
)

var (
	errLongFlight    = errors.New("the first flight exceeds 1 MiB")
	errNoServerHello = errors.New("the answer to the ClientHello is no ServerHello")
)

// answer is a host's answer to one ClientHello, as an observer sees it.
type answer struct {
	// shape makes a FakeTLS ServerHello look like the host's. Its data record is
	// as long on the wire as all encrypted records together that the host sends
	// before the client can answer: extensions, certificates, Finished, and
	// tickets if they go along. It is zero without TLS 1.3.
	shape faketls.ServerHelloShape

	tls13   bool // the host answers with TLS 1.3
	retry   bool // the host sends a HelloRetryRequest first
	records int  // the number of encrypted records
}

// flightConn is a TLS client's connection that measures the server's first
// flight. The flight is over when the server sends nothing more although the
// client does not answer, so Write delays the answer until then.
type flightConn struct {
	net.Conn
	hello      []byte // the first bytes written, a ClientHello
	buffered   []byte // read from Conn and not returned by Read yet
	total      int    // bytes read from Conn
	header     []byte // the current record's header, as far as it was read
	bodyLeft   int    // unread bytes of the current record's body
	clear      []byte // the handshake messages in clear, up to maxClear
	inClear    bool   // the current record is one of them
	records    []int  // the lengths of the encrypted records' bodies, up to maxRecords
	dataLength int    // length of the flight's encrypted records, headers included
	inFlight   int    // the number of the flight's encrypted records
	over       bool   // the flight is over
}

func (c *flightConn) Read(p []byte) (int, error) {
	if len(c.buffered) > 0 {
		n := copy(p, c.buffered)
		c.buffered = c.buffered[n:]
		return n, nil
	}
	n, err := c.Conn.Read(p)
	c.count(p[:n])
	return n, err
}

// Write writes p. If p is the answer to the flight, it reads the flight to its
// end first.
func (c *flightConn) Write(p []byte) (int, error) {
	if c.hello == nil {
		c.hello = bytes.Clone(p)
	}
	if c.dataLength > 0 && !c.over {
		if err := c.readFlight(flightGap); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(p)
}

// readFlight reads the rest of the flight. After an end of stream or an error it
// returns nil: the next Read returns that again.
func (c *flightConn) readFlight(gap time.Duration) error {
	err := c.drain(gap, maxFlight)
	c.over = true
	if err == errLongFlight {
		return err
	}
	return nil
}

// drain reads and buffers until the server has sent nothing for gap, which is a
// timeout, or until limit bytes were read on the connection, which is
// errLongFlight. It returns the error that ended it.
func (c *flightConn) drain(gap time.Duration, limit int) error {
	defer c.Conn.SetReadDeadline(time.Time{})
	for c.total < limit {
		c.Conn.SetReadDeadline(time.Now().Add(gap))
		if err := c.fill(); err != nil {
			return err
		}
	}
	return errLongFlight
}

// fill reads and buffers at least one byte.
func (c *flightConn) fill() error {
	var b [4096]byte
	n, err := c.Conn.Read(b[:])
	c.count(b[:n])
	c.buffered = append(c.buffered, b[:n]...)
	if n > 0 {
		return nil
	}
	return err
}

// count parses the next bytes of the server's records.
func (c *flightConn) count(b []byte) {
	c.total += len(b)
	for len(b) > 0 {
		if c.bodyLeft > 0 {
			n := min(c.bodyLeft, len(b))
			if c.inClear {
				c.clear = append(c.clear, b[:min(n, maxClear-len(c.clear))]...)
			}
			c.bodyLeft, b = c.bodyLeft-n, b[n:]
			continue
		}
		n := min(recordHeaderLength-len(c.header), len(b))
		c.header, b = append(c.header, b[:n]...), b[n:]
		if len(c.header) < recordHeaderLength {
			return
		}
		c.bodyLeft = int(binary.BigEndian.Uint16(c.header[3:]))
		c.inClear = c.header[0] == handshakeRecord
		if c.header[0] == applicationData {
			c.countRecord(c.bodyLeft)
		}
		c.header = c.header[:0]
	}
}

// countRecord counts an encrypted record with a body of that length.
func (c *flightConn) countRecord(length int) {
	if len(c.records) < maxRecords {
		c.records = append(c.records, length)
	}
	if !c.over {
		c.dataLength += recordHeaderLength + length
		c.inFlight++
	}
}

// sinceFlight returns the lengths of the encrypted records after the flight.
func (c *flightConn) sinceFlight() []int { return c.records[min(c.inFlight, len(c.records)):] }

// answer returns what was measured of the flight.
func (c *flightConn) answer() (a answer, err error) {
	var hello serverHello
	messages := cryptobyte.String(c.clear)
	if !hello.next(&messages) {
		return a, errNoServerHello
	}
	if a.retry = hello.retry; a.retry && !hello.next(&messages) {
		a.tls13 = true
		return a, nil // the client has not followed the request
	}
	if a.tls13 = hello.tls13; !a.tls13 {
		return a, nil
	}
	if c.dataLength == 0 || len(c.header) > 0 || c.bodyLeft > 0 {
		return answer{}, fmt.Errorf("the first flight is incomplete: %w", io.ErrUnexpectedEOF)
	}
	a.records = c.inFlight
	a.shape = faketls.ServerHelloShape{
		DataSize:      min(c.dataLength-recordHeaderLength, maxRecordBody),
		CipherSuite:   hello.suite,
		Group:         hello.group,
		VersionsFirst: hello.versionsFirst,
	}
	return a, nil
}

// serverHello is a ServerHello, or a HelloRetryRequest, which has its format.
type serverHello struct {
	tls13, retry  bool
	suite, group  uint16
	versionsFirst bool // supported_versions is before key_share
}

// retryRandom is the random of a HelloRetryRequest.
//
// Specification: https://www.rfc-editor.org/rfc/rfc8446#section-4.1.3
const retryRandom = "\xcf\x21\xad\x74\xe5\x9a\x61\x11\xbe\x1d\x8c\x02\x1e\x65\xb8\x91\xc2\xa2\x11\x16\x7a\xbb\x8c\x5e\x07\x9e\x09\xe2\xc8\xa8\x33\x9c"

// next parses the next of the handshake messages, and reports whether it is a
// ServerHello.
func (h *serverHello) next(messages *cryptobyte.String) bool {
	var kind uint8
	var body cryptobyte.String
	return messages.ReadUint8(&kind) && messages.ReadUint24LengthPrefixed(&body) && kind == messageServerHello && h.parse(body)
}

// parse parses the body of the message and reports whether it is well formed up
// to the extensions. Without extensions, it is one of TLS 1.2.
func (h *serverHello) parse(message []byte) bool {
	*h = serverHello{}
	s := cryptobyte.String(message)
	var (
		random                      []byte
		sessionID, extensions, body cryptobyte.String
		id, version                 uint16
	)
	if !s.Skip(2) || !s.ReadBytes(&random, len(retryRandom)) ||
		!s.ReadUint8LengthPrefixed(&sessionID) || !s.ReadUint16(&h.suite) || !s.Skip(1) { // compression method
		return false
	}
	h.retry = string(random) == retryRandom
	s.ReadUint16LengthPrefixed(&extensions)
	for share := false; extensions.ReadUint16(&id) && extensions.ReadUint16LengthPrefixed(&body); {
		switch id {
		case extensionSupportedVersions:
			h.versionsFirst = !share
			h.tls13 = body.ReadUint16(&version) && version == versionTLS13
		case extensionKeyShare:
			share = true
			body.ReadUint16(&h.group)
		}
	}
	return true
}
