package fronting

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/mtwire/mtwire/faketls"
	utls "github.com/refraction-networking/utls"
	"golang.org/x/crypto/cryptobyte"
)

const (
	// probeTimeout bounds one handshake with a host.
	probeTimeout = 15 * time.Second

	// flightGap is how long a host must send nothing before its flight is over.
	// The host then waits for the client's answer, so the gap costs only time.
	flightGap = 300 * time.Millisecond

	// maxFlight is how many bytes a host may send before its flight is over: a
	// few times the limit of TLS libraries for a handshake.
	maxFlight = 1 << 20

	recordHeaderLength = 5
	applicationData    = 0x17

	extensionSupportedVersions = 43
	extensionKeyShare          = 51

	// maxRecordBody is the longest record body of TLS 1.3. A ServerHello of
	// FakeTLS has only one data record.
	//
	// Specification: https://www.rfc-editor.org/rfc/rfc8446#section-5.2
	maxRecordBody = 1<<14 + 256
)

var errLongFlight = errors.New("the first flight exceeds 1 MiB")

// probe makes a TLS handshake with h, with the ClientHello of a browser, which
// Telegram's clients imitate. It returns the shape that makes a FakeTLS
// ServerHello look like the host's. Its data record is as long on the wire as
// all encrypted records together that the host sends before the client can
// answer: extensions, certificates, Finished, and tickets if they go along.
// DataSize is 0 if the host does not support TLS 1.3.
//
// The certificate is not verified: an operator may choose any host, and
// unauthenticated clients get the same certificate.
func (p *Pool) probe(ctx context.Context, h *host) (shape faketls.ServerHelloShape, err error) {
	h.mu.Lock()
	pr := h.addProbe()
	h.mu.Unlock()
	shape, err = p.handshake(ctx, h, pr, probeTimeout)
	if err != nil && pr.returned && pr.verdict == silent {
		err = h.unusable(errLoop)
	}
	return shape, err
}

// handshake dials h and makes the handshake of pr, within limit, and settles pr.
func (p *Pool) handshake(outer context.Context, h *host, pr *probe, limit time.Duration) (shape faketls.ServerHelloShape, err error) {
	defer func() {
		if outer.Err() != nil {
			h.settle(pr, abandoned)
		} else {
			h.settle(pr, silent)
		}
	}()
	ctx, cancel := context.WithTimeout(outer, limit)
	defer cancel()
	conn, err := p.dialForProbe(ctx, h)
	if err != nil {
		return shape, err
	}
	defer conn.Close()
	flight := &flightConn{Conn: &probeConn{Conn: conn, host: h, probe: pr}}
	client := utls.UClient(flight, &utls.Config{ServerName: h.Domain, InsecureSkipVerify: true}, utls.HelloChrome_Auto)
	if err := client.HandshakeContext(ctx); err != nil {
		return shape, fmt.Errorf("handshake with fronting host %s: %w", h.Domain, err)
	}
	client.Close() // sends close_notify
	if client.ConnectionState().Version != utls.VersionTLS13 {
		return shape, nil
	}
	hello := client.HandshakeState.ServerHello
	return faketls.ServerHelloShape{
		DataSize:      min(flight.dataLength-recordHeaderLength, maxRecordBody),
		CipherSuite:   hello.CipherSuite,
		NoMLKEM:       hello.ServerShare.Group != utls.X25519MLKEM768,
		VersionsFirst: versionsFirst(hello.Raw),
	}, nil
}

// versionsFirst reports whether a TLS 1.3 ServerHello has supported_versions
// before key_share.
//
// Specification: https://www.rfc-editor.org/rfc/rfc8446#section-4.1.3
func versionsFirst(message []byte) bool {
	s := cryptobyte.String(message)
	var (
		sessionID, extensions, body cryptobyte.String
		id                          uint16
	)
	s.Skip(4 + 2 + 32) // header, version, random
	s.ReadUint8LengthPrefixed(&sessionID)
	s.Skip(2 + 1) // cipher suite, compression method
	s.ReadUint16LengthPrefixed(&extensions)
	for extensions.ReadUint16(&id) && extensions.ReadUint16LengthPrefixed(&body) {
		switch id {
		case extensionSupportedVersions:
			return true
		case extensionKeyShare:
			return false
		}
	}
	return false
}

// flightConn is a TLS client's connection that measures the server's first
// flight. The flight is over when the server sends nothing more although the
// client does not answer, so Write delays the answer until then.
type flightConn struct {
	net.Conn
	buffered   []byte // read from Conn and not returned by Read yet
	total      int    // bytes read from Conn
	header     []byte // the current record's header, as far as it was read
	bodyLeft   int    // unread bytes of the current record's body
	dataLength int    // length of the encrypted records, headers included
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
	if c.dataLength > 0 && !c.over {
		if err := c.readFlight(); err != nil {
			return 0, err
		}
		c.over = true
	}
	return c.Conn.Write(p)
}

// readFlight reads until the server has sent nothing for flightGap. After an end
// of stream or an error it returns nil: the next Read returns that again.
func (c *flightConn) readFlight() error {
	defer c.Conn.SetReadDeadline(time.Time{})
	var b [4096]byte
	for c.total < maxFlight {
		c.Conn.SetReadDeadline(time.Now().Add(flightGap))
		n, err := c.Conn.Read(b[:])
		c.count(b[:n])
		c.buffered = append(c.buffered, b[:n]...)
		if err != nil {
			return nil
		}
	}
	return errLongFlight
}

// count parses the next bytes of the server's records.
func (c *flightConn) count(b []byte) {
	c.total += len(b)
	for !c.over && len(b) > 0 {
		if c.bodyLeft > 0 {
			n := min(c.bodyLeft, len(b))
			c.bodyLeft, b = c.bodyLeft-n, b[n:]
			continue
		}
		n := min(recordHeaderLength-len(c.header), len(b))
		c.header, b = append(c.header, b[:n]...), b[n:]
		if len(c.header) < recordHeaderLength {
			return
		}
		c.bodyLeft = int(binary.BigEndian.Uint16(c.header[3:]))
		if c.header[0] == applicationData {
			c.dataLength += recordHeaderLength + c.bodyLeft
		}
		c.header = c.header[:0]
	}
}
