package interop

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/proto/codec"

	"github.com/mtwire/mtwire/frame"
)

// gotdCodec returns gotd's codec for a framing.
func gotdCodec(p frame.Protocol) codec.Codec {
	switch p {
	case frame.Abridged:
		return codec.Abridged{}
	case frame.Intermediate:
		return codec.Intermediate{}
	case frame.PaddedIntermediate:
		return codec.PaddedIntermediate{}
	}
	return &codec.Full{}
}

// payloads returns payloads of many lengths: all small ones, those around the
// lengths at which Abridged changes its form, and the longest that both sides
// accept.
//
// All but the shortest have the form of a message, encrypted or not, because
// mtwire removes padding only behind the end of a message.
func payloads(p frame.Protocol) (all [][]byte) {
	for blocks := 3; blocks <= 40; blocks++ {
		all = append(all, encrypted(blocks))
	}
	for length := 20; length <= 600; length += 4 {
		all = append(all, unencrypted(length))
	}
	if p != frame.PaddedIntermediate {
		for length := 4; length < 20; length += 4 {
			all = append(all, unencrypted(20)[:length])
		}
	}
	all = append(all, unencrypted(65532), unencrypted(65536), unencrypted(65540), encrypted(65536))
	// gotd's limit is 16 MiB, with padding or the envelope of Full.
	return append(all, encrypted((16<<20-32)/16-1))
}

func encrypted(blocks int) []byte {
	b := make([]byte, 24+16*blocks)
	rand.Read(b)
	b[0] |= 1
	return b
}

func unencrypted(length int) []byte {
	b := make([]byte, length)
	rand.Read(b[8:])
	if length == 20 {
		rand.Read(b) // a header without a body is not a message
		b[0] |= 1
		return b
	}
	binary.LittleEndian.PutUint32(b[16:], uint32(length-20))
	return b
}

func TestOurDecoderReadsGotdCodec(t *testing.T) {
	for _, p := range frame.Protocols {
		t.Run(p.String(), func(t *testing.T) {
			theirs := gotdCodec(p)
			var wire bytes.Buffer
			if err := theirs.WriteHeader(&wire); err != nil {
				t.Fatal(err)
			}
			if wire.String() != p.Header() {
				t.Fatalf("gotd's header is %x, want %x", wire.Bytes(), p.Header())
			}
			ours := frame.Decoder{Protocol: p, From: frame.Client}
			for _, payload := range payloads(p) {
				wire.Reset()
				if err := theirs.Write(&wire, &bin.Buffer{Buf: bytes.Clone(payload)}); err != nil {
					t.Fatalf("%d bytes: %v", len(payload), err)
				}
				got, n, err := ours.Parse(wire.Bytes())
				if err != nil || n != wire.Len() {
					t.Fatalf("%d bytes: parsed %d of %d: %v", len(payload), n, wire.Len(), err)
				}
				if got.Kind != frame.KindPayload || got.AckWanted || !bytes.Equal(got.Payload, payload) {
					t.Fatalf("%d bytes: got %v of %d bytes, ack wanted: %v", len(payload), got.Kind, len(got.Payload), got.AckWanted)
				}
			}
		})
	}
}

func TestGotdCodecReadsOurEncoder(t *testing.T) {
	for _, p := range frame.Protocols {
		for _, from := range []frame.Side{frame.Client, frame.Server} {
			t.Run(fmt.Sprintf("%v from %v", p, from), func(t *testing.T) {
				theirs := gotdCodec(p)
				if err := theirs.ReadHeader(bytes.NewReader([]byte(p.Header()))); err != nil {
					t.Fatal(err)
				}
				ours := frame.Encoder{Protocol: p, From: from}
				// gotd removes padding only down to a multiple of four
				// bytes, see shortPadding. Therefore it removes all padding
				// of a server, which is at most three bytes.
				maxPadding := 0
				if p == frame.PaddedIntermediate && from == frame.Client {
					maxPadding = 12
				}
				for _, payload := range payloads(p) {
					wire, err := ours.Append(nil, frame.Packet{Payload: payload})
					if err != nil {
						t.Fatalf("%d bytes: %v", len(payload), err)
					}
					r := bytes.NewReader(wire)
					var got bin.Buffer
					// gotd reads a packet of four bytes as a transport error.
					var transportError *codec.ProtocolErr
					if err := theirs.Read(r, &got); len(payload) == 4 && errors.As(err, &transportError) {
						got.Buf = binary.LittleEndian.AppendUint32(nil, uint32(-transportError.Code))
					} else if err != nil {
						t.Fatalf("%d bytes: %v", len(payload), err)
					}
					if !bytes.HasPrefix(got.Buf, payload) || got.Len() > len(payload)+maxPadding || r.Len() != 0 {
						t.Fatalf("%d bytes: gotd returned %d and did not read %d", len(payload), got.Len(), r.Len())
					}
				}
			})
		}
	}
}

func TestTransportErrorsAreUnderstoodBothWays(t *testing.T) {
	for _, p := range frame.Protocols {
		t.Run(p.String(), func(t *testing.T) {
			ours, theirs := frame.Encoder{Protocol: p, From: frame.Server}, gotdCodec(p)
			reader, decoder := gotdCodec(p), frame.Decoder{Protocol: p, From: frame.Server}
			// Each code several times, because padding is random.
			for i := range 32 {
				code := []uint32{frame.CodeForbidden, frame.CodeAuthKeyAbsent, frame.CodeFlood, frame.CodeInvalidDC}[i%4]

				wire, err := ours.Append(nil, frame.Packet{Kind: frame.KindTransportError, Code: code})
				if err != nil {
					t.Fatal(err)
				}
				var b bin.Buffer
				var transportError *codec.ProtocolErr
				if err := reader.Read(bytes.NewReader(wire), &b); !errors.As(err, &transportError) || transportError.Code != int32(code) {
					t.Errorf("gotd reads %d as %v", code, err)
				}

				var theirWire bytes.Buffer
				b.Reset()
				b.PutInt32(-int32(code))
				if err := theirs.Write(&theirWire, &b); err != nil {
					t.Fatal(err)
				}
				packet, n, err := decoder.Parse(theirWire.Bytes())
				if err != nil || n != theirWire.Len() || packet.Kind != frame.KindTransportError || packet.Code != code {
					t.Errorf("mtwire reads %d as %+v, %v", code, packet, err)
				}
			}
		})
	}
}
