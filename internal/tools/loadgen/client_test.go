package loadgen

import (
	"errors"
	"math"
	"net"
	"testing"

	"github.com/mtwire/mtwire"
)

func dialDirect(t *testing.T, dc *DataCenter, protocol mtwire.Protocol, packetSize int) *Client {
	t.Helper()
	ep := direct(dc.Addr())
	ep.Protocol = protocol
	conn, err := mtwire.DialEndpoint(short(t), ep, nil)
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

// Every framing that an init payload can name, packets of every kind of length,
// and one thing after the other on the same connection.
func TestDataArrivesInEveryFraming(t *testing.T) {
	dc := startDataCenter(t)
	for _, protocol := range []mtwire.Protocol{mtwire.Abridged, mtwire.Intermediate, mtwire.PaddedIntermediate} {
		for _, size := range []int{0, 88, RoundPacketSize(64 << 10), MaxPacket} {
			c := dialDirect(t, dc, protocol, size)
			for range 2 {
				if err := errors.Join(c.Echo(short(t)), c.Download(short(t), 9), c.Upload(short(t), 9)); err != nil {
					t.Errorf("%v, packets of %d: %v", protocol, size, err)
				}
			}
		}
	}
	if got := dc.Accepted(); got != 12 {
		t.Errorf("%d connections", got)
	}
}

// flipper changes the byte at one place of a direction.
type flipper struct {
	net.Conn
	up, down int // how many bytes are in front of it; negative once it has passed
}

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

// "Any mismatch is an error": one bit of a stream, in either direction, in a
// header or in data.
func TestChangedBytesAreNoticed(t *testing.T) {
	dc := startDataCenter(t)
	const never, length = math.MaxInt, 4 // of Intermediate's envelope
	connect := func(up, down int) *Client {
		socket, err := net.Dial("tcp", dc.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { socket.Close() })
		conn, err := mtwire.Client(short(t), &flipper{socket, up, down}, direct(dc.Addr()), nil)
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
	for name, place := range map[string]int{
		"data": length + headerSize + 500, "last byte": packet - 1, "stream": length + 12, "number": length + 16,
		"second packet": packet + length + headerSize,
	} {
		if err := connect(never, place).Download(short(t), 3); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s, downloading: %v", name, err)
		}
		if name == "stream" {
			continue // of an upload there is only one: it is the stream that it says
		}
		if err := connect(64+place, never).Upload(short(t), 3); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s, uploading: %v", name, err)
		}
	}
	if err := connect(64+length+headerSize, never).Echo(short(t)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("echo: %v", err)
	}
}

// A packet that was lost, or came twice, is one too few or too many.
func TestLostAndRepeatedPacketsAreNoticed(t *testing.T) {
	dc := startDataCenter(t)
	for _, off := range []uint64{1, ^uint64(0)} {
		c := dialDirect(t, dc, mtwire.Intermediate, 0)
		if err := c.Upload(short(t), 2); err != nil {
			t.Fatal(err)
		}
		c.sent += off
		if err := c.Upload(short(t), 1); !errors.Is(err, ErrCorrupt) {
			t.Errorf("upload: %v", err)
		}
		c = dialDirect(t, dc, mtwire.Intermediate, 0)
		c.received += off
		if err := c.Download(short(t), 1); !errors.Is(err, ErrCorrupt) {
			t.Errorf("download: %v", err)
		}
	}
}

// What no client of ours sends ends the connection, and no other.
func TestDataCenterHangsUpOnStrangers(t *testing.T) {
	dc := startDataCenter(t)
	witness := dialDirect(t, dc, mtwire.Intermediate, 0)
	messages := map[string]func([]byte){
		"foreign":             func(b []byte) { b[0]++ },
		"of no kind":          func(b []byte) { b[8] = 99 },
		"too long a download": func(b []byte) { putHeader(b, download, 1, demand{1, MaxPacket + 16}.number()) },
	}
	for name, change := range messages {
		ep := direct(dc.Addr())
		conn, err := mtwire.DialEndpoint(short(t), ep, nil)
		if err != nil {
			t.Fatal(err)
		}
		b := append([]byte(nil), fill(nil, 1, MinPacket)...)
		change(b)
		if err := conn.Send(short(t), b); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Receive(short(t)); !isClosed(err) {
			t.Errorf("%s: %v", name, err)
		}
		conn.Close()
	}
	if err := witness.Echo(short(t)); err != nil {
		t.Error(err)
	}
}

// Data that is longer than any can be is wrong data, whatever it is.
func TestTooLongDataIsWrong(t *testing.T) {
	dc := startDataCenter(t)
	conn, err := mtwire.DialEndpoint(short(t), direct(dc.Addr()), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	b := make([]byte, MaxPacket+16)
	putHeader(b, data, 1, 0)
	if err := conn.Send(short(t), b); err != nil {
		t.Fatal(err)
	}
	p, err := conn.Receive(short(t))
	if m, _ := parseMessage(p.Payload); err != nil || m.kind != fault {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestImpossiblePacketSizesAreRefused(t *testing.T) {
	for _, size := range []int{-1, 24, 73, MaxPacket + 16} {
		if _, err := NewClient(nil, size); err == nil {
			t.Errorf("%d", size)
		}
	}
}
