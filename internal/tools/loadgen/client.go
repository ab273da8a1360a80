package loadgen

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/mtwire/mtwire"
)

// Client generates load on one connection to a DataCenter, direct or through a
// proxy, and verifies every byte that it receives. Its methods must not be called
// concurrently. An error is final.
type Client struct {
	conn     *mtwire.Conn
	stream   uint32 // random, so that the data of another connection differs
	length   int    // of a packet of data, in bytes
	sent     uint64 // number of packets of data
	received uint64
	buffer   []byte // the last packet of data sent, nil before the first
	probe    []byte // the last echo sent
}

// NewClient returns a client on conn, which the client owns from then on unless
// there is an error. length is that of a packet of data, in bytes; see
// CheckPacketSize. 0 means MinLength.
func NewClient(conn *mtwire.Conn, length int) (*Client, error) {
	if length == 0 {
		length = MinLength
	}
	if err := CheckPacketSize(length); err != nil {
		return nil, err
	}
	return &Client{conn: conn, stream: rand.Uint32(), length: length}, nil
}

// Close closes the connection.
func (c *Client) Close() error { return c.conn.Close() }

// Echo sends a message of MinLength bytes and waits until the data centre has
// returned it.
func (c *Client) Echo(ctx context.Context) error {
	c.prepareEcho(MinLength)
	if err := c.conn.Send(ctx, c.probe); err != nil {
		return err
	}
	p, err := c.conn.Receive(ctx)
	if err != nil {
		return err
	}
	return c.checkEcho(p.Payload)
}

// prepareEcho sets the probe to a message of the given length that differs from the
// one before.
func (c *Client) prepareEcho(length int) {
	c.probe = fill(c.probe, c.stream, length)
	putHeader(c.probe, kindEcho, c.stream, rand.Uint64())
}

// checkEcho returns an error unless payload is the probe.
func (c *Client) checkEcho(payload []byte) error {
	if !bytes.Equal(payload, c.probe) {
		if _, err := parseMessage(payload); err != nil {
			return err
		}
		return fmt.Errorf("echo: %w", ErrCorrupt)
	}
	return nil
}

// Download requests packets of data from the data centre, fewer than 2^32, and
// verifies them.
func (c *Client) Download(ctx context.Context, packets int) error {
	if err := c.request(ctx, packets); err != nil {
		return err
	}
	return c.receive(ctx, packets)
}

// request requests packets of data.
func (c *Client) request(ctx context.Context, packets int) error {
	return c.sendControl(ctx, kindDownload, request{uint32(packets), uint32(c.length)}.number())
}

// receive receives and verifies packets of data that were requested.
func (c *Client) receive(ctx context.Context, packets int) error {
	for range packets {
		m, err := c.receiveMessage(ctx)
		if err != nil {
			return err
		}
		if m.kind != kindData || m.stream != c.stream || m.number != c.received ||
			len(m.data) != c.length-headerSize || !m.intact() {
			return fmt.Errorf("download, packet %d: %w", c.received, ErrCorrupt)
		}
		c.received++
	}
	return nil
}

// Upload sends packets of data and waits until the data centre has confirmed that
// all of them have arrived unchanged.
func (c *Client) Upload(ctx context.Context, packets int) error {
	expected, err := c.send(ctx, packets)
	if err != nil {
		return err
	}
	return c.awaitConfirmation(ctx, expected)
}

// send sends packets of data and requests a confirmation. It returns the number
// that the data centre must confirm.
func (c *Client) send(ctx context.Context, packets int) (expected uint64, err error) {
	c.buffer = fill(c.buffer, c.stream, c.length)
	for range packets {
		putHeader(c.buffer, kindData, c.stream, c.sent)
		if err := c.conn.Send(ctx, c.buffer); err != nil {
			return 0, err
		}
		c.sent++
	}
	return c.sent, c.sendControl(ctx, kindConfirm, 0)
}

// awaitConfirmation receives the confirmation of expected packets.
func (c *Client) awaitConfirmation(ctx context.Context, expected uint64) error {
	m, err := c.receiveMessage(ctx)
	if err != nil {
		return err
	}
	if m.kind != kindConfirmed || m.number != expected {
		return fmt.Errorf("upload: %w: sent %d packets, received kind %d with number %d", ErrCorrupt, expected, m.kind, m.number)
	}
	return nil
}

// sendControl sends a message without data.
func (c *Client) sendControl(ctx context.Context, k kind, number uint64) error {
	var b [MinLength]byte
	putHeader(b[:], k, c.stream, number)
	return c.conn.Send(ctx, b[:])
}

// receiveMessage receives a message. Its data is valid until the next call. A fault
// is returned as ErrCorrupt.
func (c *Client) receiveMessage(ctx context.Context) (message, error) {
	p, err := c.conn.Receive(ctx)
	if err != nil {
		return message{}, err
	}
	m, err := parseMessage(p.Payload)
	if err == nil && m.kind == kindFault {
		err = fmt.Errorf("upload, packet %d: %w", m.number, ErrCorrupt)
	}
	return m, err
}
