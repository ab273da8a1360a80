package loadgen

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/mtwire/mtwire"
)

// Client is a connection to a DataCenter, through whatever is in between. It is
// for one goroutine at a time. An error is final.
type Client struct {
	conn     *mtwire.Conn
	stream   uint32 // so that another connection's data is recognised
	length   int
	sent     uint64 // packets of data
	received uint64
	buffer   []byte // the last packet of data sent, if any was
	probe    []byte // the last echo
}

// NewClient speaks over conn, in packets of the given length where it moves
// data; see CheckPacketSize. 0 means MinPacket.
func NewClient(conn *mtwire.Conn, length int) (*Client, error) {
	if length == 0 {
		length = MinPacket
	}
	if err := CheckPacketSize(length); err != nil {
		return nil, err
	}
	return &Client{conn: conn, stream: rand.Uint32(), length: length}, nil
}

// Close closes the connection.
func (c *Client) Close() error { return c.conn.Close() }

// Echo sends a message of MinPacket bytes and waits until it is back.
func (c *Client) Echo(ctx context.Context) error {
	if c.probe == nil {
		c.probe = append([]byte(nil), fill(nil, c.stream, MinPacket)...)
	}
	number := rand.Uint64()
	putHeader(c.probe, echo, c.stream, number)
	if err := c.conn.Send(ctx, c.probe); err != nil {
		return err
	}
	p, err := c.conn.Receive(ctx)
	if err != nil {
		return err
	}
	if !bytes.Equal(p.Payload, c.probe) {
		if _, err := parseMessage(p.Payload); err != nil {
			return err
		}
		return fmt.Errorf("echo: %w", ErrCorrupt)
	}
	return nil
}

// Download has the data centre send that many packets, and checks them. There
// are fewer than 2^32.
func (c *Client) Download(ctx context.Context, packets int) error {
	if err := c.demand(ctx, packets); err != nil {
		return err
	}
	return c.take(ctx, packets)
}

// demand asks for packets.
func (c *Client) demand(ctx context.Context, packets int) error {
	return c.ask(ctx, download, demand{uint32(packets), uint32(c.length)}.number())
}

// take receives packets that were asked for.
func (c *Client) take(ctx context.Context, packets int) error {
	for range packets {
		m, err := c.receive(ctx)
		if err != nil {
			return err
		}
		if m.kind != data || m.stream != c.stream || m.number != c.received ||
			len(m.data) != c.length-headerSize || !m.intact() {
			return fmt.Errorf("download, packet %d: %w", c.received, ErrCorrupt)
		}
		c.received++
	}
	return nil
}

// Upload sends that many packets, and waits until the data centre says that
// they have arrived as they were.
func (c *Client) Upload(ctx context.Context, packets int) error {
	expected, err := c.give(ctx, packets)
	if err != nil {
		return err
	}
	return c.confirmed(ctx, expected)
}

// give sends packets and asks what has arrived. It returns what the answer is
// to be.
func (c *Client) give(ctx context.Context, packets int) (expected uint64, err error) {
	c.buffer = fill(c.buffer, c.stream, c.length)
	for range packets {
		putHeader(c.buffer, data, c.stream, c.sent)
		if err := c.conn.Send(ctx, c.buffer); err != nil {
			return 0, err
		}
		c.sent++
	}
	return c.sent, c.ask(ctx, confirm, 0)
}

// confirmed waits for the answer.
func (c *Client) confirmed(ctx context.Context, expected uint64) error {
	m, err := c.receive(ctx)
	if err != nil {
		return err
	}
	if m.kind != confirmed || m.number != expected {
		return fmt.Errorf("upload: %w: %d packets were sent, kind %d says %d", ErrCorrupt, expected, m.kind, m.number)
	}
	return nil
}

func (c *Client) ask(ctx context.Context, k kind, number uint64) error {
	var b [MinPacket]byte
	putHeader(b[:], k, c.stream, number)
	return c.conn.Send(ctx, b[:])
}

func (c *Client) receive(ctx context.Context) (message, error) {
	p, err := c.conn.Receive(ctx)
	if err != nil {
		return message{}, err
	}
	m, err := parseMessage(p.Payload)
	if err == nil && m.kind == fault {
		err = fmt.Errorf("upload, packet %d: %w", m.number, ErrCorrupt)
	}
	return m, err
}
