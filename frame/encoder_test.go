package frame

import (
	"encoding/hex"
	"errors"
	"testing"
)

func TestEncoderRefusesInvalidPackets(t *testing.T) {
	for _, test := range []struct {
		protocol Protocol
		packet   Packet
		want     error
	}{
		{Abridged, Packet{}, ErrZeroLength},
		{Intermediate, Packet{Payload: make([]byte, 6)}, ErrMisaligned},
		{Abridged, Packet{Payload: make([]byte, 1<<26)}, ErrTooLong},
		{Intermediate, Packet{Kind: KindTransportError}, ErrCode},
		{Intermediate, Packet{Kind: KindTransportError, Code: 1<<31 + 1}, ErrCode},
		{Intermediate, Packet{Kind: KindQuickAck, Token: 1}, ErrQuickAck},
		{Full, Packet{Kind: KindQuickAck, Token: 1 << 31}, ErrNoQuickAck},
		{0, Packet{Payload: reqPQMulti}, ErrProtocol},
		{Intermediate, Packet{Kind: KindNOP + 1}, ErrKind},
	} {
		e := Encoder{Protocol: test.protocol, From: Server}
		got, err := e.Append([]byte("kept"), test.packet)
		if typed := new(*Error); !errors.As(err, typed) {
			t.Errorf("%v %v: %v is no *Error", test.protocol, test.packet.Kind, err)
		}
		if !errors.Is(err, test.want) || string(got) != "kept" {
			t.Errorf("%v %v: %q, %v, want %v", test.protocol, test.packet.Kind, got, err, test.want)
		}
	}
	client := Encoder{Protocol: Intermediate}
	for _, p := range []Packet{{Kind: KindQuickAck, Token: 1 << 31}, {Kind: KindTransportError, Code: 404}, {Kind: KindNOP}} {
		if _, err := client.Append(nil, p); !errors.Is(err, ErrSide) {
			t.Errorf("a client's %v: %v", p.Kind, err)
		}
	}
	client.Protocol = Full
	if _, err := client.Append(nil, Packet{Payload: reqPQMulti, AckWanted: true}); !errors.Is(err, ErrNoQuickAck) {
		t.Errorf("a quick ack wanted over Full: %v", err)
	}
}

// The sequence number counts payloads and errors, and no packet that was refused.
func TestFullCountsEveryFrameThatWasSent(t *testing.T) {
	e := Encoder{Protocol: Full, From: Server}
	var wire []byte
	var err error
	for i, p := range []Packet{{Payload: reqPQMulti}, {Payload: []byte{1}}, {Kind: KindTransportError, Code: 404}, {Payload: reqPQMulti}} {
		if wire, err = e.Append(wire, p); (err != nil) != (i == 1) {
			t.Fatal(i, err)
		}
	}
	d := Decoder{Protocol: Full, From: Server}
	count := 0
	for len(wire) > 0 {
		_, n, err := d.Parse(wire)
		if err != nil {
			t.Fatal(err)
		}
		wire = wire[n:]
		count++
	}
	if count != 3 {
		t.Errorf("%d packets, want 3", count)
	}
}

// mtcute and gotd only recognize a transport error of exactly four bytes. mtcute
// parses a longer one as a message, and fails.
func TestTransportErrorsAreSentWithoutPadding(t *testing.T) {
	e := Encoder{Protocol: PaddedIntermediate, From: Server}
	for range 100 {
		wire, err := e.Append(nil, Packet{Kind: KindTransportError, Code: 404})
		if want := "040000006cfeffff"; err != nil || hex.EncodeToString(wire) != want {
			t.Fatalf("%x, %v, want %s", wire, err, want)
		}
	}
}

// MTProxy sends a quick acknowledgement as a framed token and a NOP. An Encoder
// reuses its envelope, and nothing of the previous packet may remain in it.
func TestNOPAfterAQuickAckIsZero(t *testing.T) {
	for _, before := range []Packet{{Kind: KindQuickAck, Token: 0x9e42fb8a}, {Kind: KindTransportError, Code: 404}} {
		e := Encoder{Protocol: PaddedIntermediate, From: Server}
		before.Padding = []byte{}
		if _, err := e.Append(nil, before); err != nil {
			t.Fatal(err)
		}
		got, err := e.Append(nil, Packet{Kind: KindNOP, Padding: []byte{}})
		if err != nil || string(got) != "\x04\x00\x00\x00\x00\x00\x00\x00" {
			t.Errorf("behind %v: % x, %v", before.Kind, got, err)
		}
	}
}
