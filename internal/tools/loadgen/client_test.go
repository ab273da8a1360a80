package loadgen

import (
	"errors"
	"math"
	"net"
	"testing"

	"github.com/mtwire/mtwire"
)

// dialDirect connects to dc without a proxy.
func dialDirect(t *testing.T, dc *DataCenter, protocol mtwire.Protocol, packetSize int) *Client {
	t.Helper()
	ep := direct(dc.Addr())
	ep.Protocol = protocol
	conn, err := mtwire.DialEndpoint(testContext(t), ep, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c, err := NewClient(conn, packetSize)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Echoes, downloads and uploads of packets between the limits succeed in every
// framing that an init payload can have, one after the other on a connection.
func TestDataArrivesInEveryFraming(t *testing.T) {
	dc := startDataCenter(t)
	for _, protocol := range []mtwire.Protocol{mtwire.Abridged, mtwire.Intermediate, mtwire.PaddedIntermediate} {
		for _, size := range []int{0, 88, RoundPacketSize(64 << 10), MaxLength} {
			c := dialDirect(t, dc, protocol, size)
			for range 2 {
				if err := errors.Join(c.Echo(testContext(t)), c.Download(testContext(t), 9), c.Upload(testContext(t), 9)); err != nil {
					t.Errorf("%v, packets of %d: %v", protocol, size, err)
				}
			}
		}
	}
	if got := dc.Accepted(); got != 12 {
		t.Errorf("%d connections", got)
	}
}

// flipper changes one byte of each direction.
type flipper struct {
	net.Conn
	up, down int // number of bytes before the byte to change; negative afterwards
}

// flip changes one bit of byte *in of a stream whose next bytes are b.
func flip(b []byte, in *int) {
	if *in >= 0 && *in < len(b) {
		b[*in] ^= 1
	}
	*in -= len(b)
}

func (f *flipper) Read(b []byte) (int, error) {
	n, err := f.Conn.Read(b)
	flip(b[:n], &f.down)
	return n, err
}

func (f *flipper) Write(b []byte) (int, error) {
	changed := append([]byte(nil), b...)
	flip(changed, &f.up)
	return f.Conn.Write(changed)
}

// A changed bit is an error, in either direction, in a header and in data.
func TestChangedBytesAreDetected(t *testing.T) {
	dc := startDataCenter(t)
	const never, length = math.MaxInt, 4 // of Intermediate's envelope
	connect := func(up, down int) *Client {
		socket, err := net.Dial("tcp", dc.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { socket.Close() })
		conn, err := mtwire.Client(testContext(t), &flipper{socket, up, down}, direct(dc.Addr()), nil)
		if err != nil {
			t.Fatal(err)
		}
		c, err := NewClient(conn, 1048)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	const packet = length + 1048
	for name, offset := range map[string]int{
		"data": length + headerSize + 500, "last byte": packet - 1, "stream": length + 12, "number": length + 16,
		"second packet": packet + length + headerSize,
	} {
		if err := connect(never, offset).Download(testContext(t), 3); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s, downloading: %v", name, err)
		}
		if name == "stream" {
			continue // the data centre expects the data of the stream in the header
		}
		if err := connect(64+offset, never).Upload(testContext(t), 3); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s, uploading: %v", name, err)
		}
	}
	if err := connect(64+length+headerSize, never).Echo(testContext(t)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("echo: %v", err)
	}
}

// A packet that is missing or repeated is an error.
func TestLostAndRepeatedPacketsAreDetected(t *testing.T) {
	dc := startDataCenter(t)
	for _, off := range []uint64{1, ^uint64(0)} {
		c := dialDirect(t, dc, mtwire.Intermediate, 0)
		if err := c.Upload(testContext(t), 2); err != nil {
			t.Fatal(err)
		}
		c.sent += off
		if err := c.Upload(testContext(t), 1); !errors.Is(err, ErrCorrupt) {
			t.Errorf("upload: %v", err)
		}
		c = dialDirect(t, dc, mtwire.Intermediate, 0)
		c.received += off
		if err := c.Download(testContext(t), 1); !errors.Is(err, ErrCorrupt) {
			t.Errorf("download: %v", err)
		}
	}
}

func TestInvalidPacketSizesAreErrors(t *testing.T) {
	for _, size := range []int{-1, 24, 73, MaxLength + 16} {
		if _, err := NewClient(nil, size); err == nil {
			t.Errorf("%d", size)
		}
	}
}
