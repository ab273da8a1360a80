package proxy

import (
	"slices"
	"testing"

	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/obfuscation"
)

// errorScanner finds errors in every framing, however the bytes are cut, and does
// not look beyond the payloads that show that there is none.
func TestScannerFindsTransportErrorsAmongTheFirstPackets(t *testing.T) {
	type packets []frame.Packet
	long := frame.Packet{Payload: make([]byte, 24+16*100)}
	fail := func(code uint32) frame.Packet {
		return frame.Packet{Kind: frame.KindTransportError, Code: code}
	}
	ack := frame.Packet{Kind: frame.KindQuickAck, Token: 1<<31 | 7}
	for i := range long.Payload {
		long.Payload[i] = byte(i + 1)
	}
	for _, c := range []struct {
		name    string
		packets packets
		want    []uint32
	}{
		{"an error alone", packets{fail(404)}, []uint32{404}},
		{"an error behind a payload", packets{long, fail(444)}, nil}, // in one read, or not: see below
		{"errors", packets{fail(429), fail(444)}, []uint32{429, 444}},
		{"an error behind an acknowledgement", packets{ack, fail(404)}, []uint32{404}},
		{"payloads", packets{long, long, fail(404)}, nil},
	} {
		for _, protocol := range []frame.Protocol{frame.Abridged, frame.Intermediate, frame.PaddedIntermediate} {
			for _, size := range []int{1, 3, 7, 64, 1 << 16} {
				var download obfuscation.KeyStream
				for i := range download {
					download[i] = byte(3 * i)
				}
				encoder := frame.Encoder{Protocol: protocol, From: frame.Server}
				var wire []byte
				for _, p := range c.packets {
					var err error
					if wire, err = encoder.Append(wire, p); err != nil {
						t.Fatal(err)
					}
				}
				download.StreamAt(0).XORKeyStream(wire, wire)
				var got []uint32
				s := &errorScanner{
					decoder:  frame.Decoder{Protocol: protocol, From: frame.Server},
					download: &download,
					failed:   func(code uint32) { got = append(got, code) },
				}
				for more := true; more && len(wire) > 0; {
					n := min(size, len(wire))
					more = s.scan(wire[:n])
					wire = wire[n:]
					if len(s.rest) > maxErrorLength+size && len(s.rest) > 4*maxErrorLength {
						t.Fatalf("%d bytes are kept", len(s.rest))
					}
				}
				if !slices.Equal(got, c.want) {
					t.Errorf("%s, %v, %d bytes at a time: %v", c.name, protocol, size, got)
				}
			}
		}
	}
}

// The scan ends at bytes that are no packet: no packet can be found behind them.
func TestScanEndsAtBytesThatAreNoPacket(t *testing.T) {
	var download obfuscation.KeyStream
	s := &errorScanner{
		decoder:  frame.Decoder{Protocol: frame.Intermediate, From: frame.Server},
		download: &download,
		failed:   func(code uint32) { t.Errorf("error %d", code) },
	}
	wire := []byte{0xff, 0xff, 0xff, 0x7f} // a length beyond any limit
	download.StreamAt(0).XORKeyStream(wire, wire)
	if s.scan(wire[:3]) != true {
		t.Error("it does not wait for the rest of a length")
	}
	if s.scan(wire[3:]) {
		t.Error("it goes on")
	}
}
