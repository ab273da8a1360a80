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

	// quiet is how long a host must have said nothing for its flight to be
	// over. It waits for us then, so that this costs only time.
	quiet = 300 * time.Millisecond

	// maxProbe is how much a host may send before its flight is over. It is a
	// few times what TLS libraries take for a handshake.
	maxProbe = 1 << 20

	recordHeader    = 5
	applicationData = 0x17

	extensionSupportedVersions = 43
	extensionKeyShare          = 51

	// maxFlight is the longest record that TLS 1.3 allows, and our flight has
	// only one.
	//
	// Specification: https://www.rfc-editor.org/rfc/rfc8446#section-5.2
	maxFlight = 1<<14 + 256
)

var errLongFlight = errors.New("the host sends without end")

// probe makes a handshake with h as a browser does, and as Telegram's clients
// seem to do, and returns what a flight of ours has to look like to be taken for
// the host's. Its record is as long on the wire as all those together in which
// the host sends, encrypted, what its client must have before it can answer:
// extensions, certificates, Finished, and tickets if they go along. Its length
// is 0 if the host does not speak TLS 1.3.
//
// The certificate need not be good: the host may be anything that the operator
// put there, and strangers see the same.
func (f *Front) probe(ctx context.Context, h *host) (look faketls.ServerHelloShape, err error) {
	h.mu.Lock()
	p := h.beginAnother()
	h.mu.Unlock()
	look, err = f.handshake(ctx, h, p, probeTimeout)
	if err != nil && p.echoed && p.finding == nothing {
		err = fmt.Errorf("fronting host %s: %w", h.Domain, errLoop)
	}
	return look, err
}

// handshake is what p does, within the limit.
func (f *Front) handshake(outer context.Context, h *host, p *probing, limit time.Duration) (look faketls.ServerHelloShape, err error) {
	defer func() {
		if outer.Err() != nil {
			h.settle(p, givenUp)
		} else {
			h.settle(p, nothing)
		}
	}()
	ctx, cancel := context.WithTimeout(outer, limit)
	defer cancel()
	conn, err := f.dial(ctx, h, nil)
	if err != nil {
		return look, err
	}
	defer conn.Close()
	flight := &flightConn{Conn: &probeConn{Conn: conn, host: h, probe: p}}
	client := utls.UClient(flight, &utls.Config{ServerName: h.Domain, InsecureSkipVerify: true}, utls.HelloChrome_Auto)
	if err := client.HandshakeContext(ctx); err != nil {
		return look, fmt.Errorf("handshake with fronting host %s: %w", h.Domain, err)
	}
	client.Close() // with a goodbye
	if client.ConnectionState().Version != utls.VersionTLS13 {
		return look, nil
	}
	hello := client.HandshakeState.ServerHello
	return faketls.ServerHelloShape{
		DataSize:      min(flight.data-recordHeader, maxFlight),
		CipherSuite:   hello.CipherSuite,
		NoMLKEM:       hello.ServerShare.Group != utls.X25519MLKEM768,
		VersionsFirst: versionsFirst(hello.Raw),
	}, nil
}

// versionsFirst says whether a ServerHello of TLS 1.3 has supported_versions
// ahead of key_share.
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
	s.Skip(2 + 1) // suite, compression
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

// flightConn is a client's connection that counts what is in a server's first
// flight. The flight is over when the server says nothing more though the
// client does not answer; so the answer is held back until then.
type flightConn struct {
	net.Conn
	ahead  []byte // read and not delivered
	read   int    // all that was read
	header []byte // of the record that is being read, as far as it has come
	rest   int    // what is missing of its body
	data   int    // length of the encrypted records, with their headers
	over   bool
}

func (c *flightConn) Read(p []byte) (int, error) {
	if len(c.ahead) > 0 {
		n := copy(p, c.ahead)
		c.ahead = c.ahead[n:]
		return n, nil
	}
	n, err := c.Conn.Read(p)
	c.count(p[:n])
	return n, err
}

// Write sends what the client says, the answer to the flight at its end.
func (c *flightConn) Write(p []byte) (int, error) {
	if c.data > 0 && !c.over {
		if err := c.drain(); err != nil {
			return 0, err
		}
		c.over = true
	}
	return c.Conn.Write(p)
}

// drain reads until the server has been quiet for a while. An end or an error
// will come again.
func (c *flightConn) drain() error {
	defer c.Conn.SetReadDeadline(time.Time{})
	var b [4096]byte
	for c.read < maxProbe {
		c.Conn.SetReadDeadline(time.Now().Add(quiet))
		n, err := c.Conn.Read(b[:])
		c.count(b[:n])
		c.ahead = append(c.ahead, b[:n]...)
		if err != nil {
			return nil
		}
	}
	return errLongFlight
}

// count takes the next bytes of the server's records.
func (c *flightConn) count(b []byte) {
	c.read += len(b)
	for !c.over && len(b) > 0 {
		if c.rest > 0 {
			n := min(c.rest, len(b))
			c.rest, b = c.rest-n, b[n:]
			continue
		}
		n := min(recordHeader-len(c.header), len(b))
		c.header, b = append(c.header, b[:n]...), b[n:]
		if len(c.header) < recordHeader {
			return
		}
		c.rest = int(binary.BigEndian.Uint16(c.header[3:]))
		if c.header[0] == applicationData {
			c.data += recordHeader + c.rest
		}
		c.header = c.header[:0]
	}
}
