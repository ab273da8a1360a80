package obfuscation

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/mtwire/mtwire/frame"
)

// The init payload, the first packet and the transport error are those of the worked
// examples, for client and server.
func TestStreamsMatchTheWorkedExamples(t *testing.T) {
	for _, e := range examples {
		t.Run(e.name, func(t *testing.T) {
			payload, sent, err := NewInit(e.client())
			if err != nil {
				t.Fatal(err)
			}
			want := append(random()[:56], unhex(e.wire)...)
			if !bytes.Equal(payload[:], want) {
				t.Fatalf("init payload %x, want %x", payload, want)
			}
			init, err := Match(&payload, e.keys())
			if err != nil {
				t.Fatal(err)
			}
			if init.Protocol != e.protocol || init.DC != e.dc || init.Key != len(e.keys())-1 {
				t.Errorf("init %+v", init)
			}
			client, server := sent.Streams(frame.Client), init.Streams(frame.Server)

			up := frame.Encoder{Protocol: e.protocol}
			plain, err := up.Append(nil, frame.Packet{Payload: reqPQMulti, Padding: bytes.Repeat([]byte{0x5a}, 7)})
			if err != nil {
				t.Fatal(err)
			}
			wire := make([]byte, len(plain))
			client.Send.XORKeyStream(wire, plain)
			if hex.EncodeToString(wire) != e.packet {
				t.Errorf("packet %x, want %s", wire, e.packet)
			}
			server.Receive.XORKeyStream(wire, wire)
			if !bytes.Equal(wire, plain) {
				t.Errorf("server read %x, want %x", wire, plain)
			}

			down := frame.Encoder{Protocol: e.protocol, From: frame.Server}
			plain, err = down.Append(nil, frame.Packet{Kind: frame.KindTransportError, Code: 404, Padding: []byte{}})
			if err != nil {
				t.Fatal(err)
			}
			wire = make([]byte, len(plain))
			server.Send.XORKeyStream(wire, plain)
			if hex.EncodeToString(wire) != e.answer {
				t.Errorf("answer %x, want %s", wire, e.answer)
			}
			client.Receive.XORKeyStream(wire, wire)
			if !bytes.Equal(wire, plain) {
				t.Errorf("client read %x, want %x", wire, plain)
			}
		})
	}
}

// NewInit draws again for each beginning that some known client avoids.
func TestForbiddenBeginningsAreDrawnAgain(t *testing.T) {
	for _, first := range []string{
		"ef01020304050607", "4845414404050607", "504f535404050607", "4745542004050607", "4f50544904050607",
		"eeeeeeee04050607", "dddddddd04050607", "1603010204050607", "16030106ffffffff", "1603030104050607",
		"5056724704050607", "0102030400000000",
	} {
		bad := append(unhex(first), random()[8:]...)
		c := &ClientConfig{Protocol: frame.Abridged, Rand: bytes.NewReader(append(bad, random()...))}
		payload, _, err := NewInit(c)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(payload[:8], random()[:8]) {
			t.Errorf("%s was not drawn again: %x", first, payload[:8])
		}
		if !Forbidden([8]byte(bad)) {
			t.Errorf("Forbidden(%s) = false", first)
		}
	}
	// Only the second word, at offset 4, must not be zero.
	if Forbidden([8]byte{0, 0, 0, 0, 1}) {
		t.Error("a zero first word is forbidden")
	}
}

// In fast mode the data centre's download key stream is the one that the proxy's
// client expects.
func TestDownloadKeyStreamCanBeGiven(t *testing.T) {
	key := [16]byte{1, 2, 3}
	payload, client, err := NewInit(&ClientConfig{Protocol: frame.PaddedIntermediate, DC: 2, Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	init, err := Match(&payload, [][16]byte{key})
	if err != nil {
		t.Fatal(err)
	}
	upstream, _, err := NewInit(&ClientConfig{Protocol: init.Protocol, DC: init.DC, Download: &init.Download})
	if err != nil {
		t.Fatal(err)
	}
	dc, err := Match(&upstream, nil)
	if err != nil || dc.DC != 2 {
		t.Fatal(dc, err)
	}
	answer := []byte("an answer")
	wire := make([]byte, len(answer))
	dc.Streams(frame.Server).Send.XORKeyStream(wire, answer)
	client.Streams(frame.Client).Receive.XORKeyStream(wire, wire)
	if !bytes.Equal(wire, answer) {
		t.Errorf("the client read %q", wire)
	}
	if _, _, err := NewInit(&ClientConfig{Protocol: frame.Abridged, Download: &init.Download, Key: &key}); err == nil {
		t.Error("no error for both Download and Key")
	}
}
