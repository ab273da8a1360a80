package frame

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// Payload is the exact message for an endpoint, Untrimmed the whole frame for a
// relay.
func TestPaddingIsRemovedExactlyAndKept(t *testing.T) {
	encrypted := make([]byte, 24+64)
	for i := range encrypted {
		encrypted[i] = byte(i + 1)
	}
	odd := bytes.Repeat([]byte{7}, 36) // neither encrypted nor unencrypted
	for _, test := range []struct {
		name    string
		payload []byte
		padding int
		want    int
	}{
		{"unencrypted", reqPQMulti, 15, 40},
		{"unencrypted, Android's tail", reqPQMulti, 256, 40},
		{"encrypted, no padding", encrypted, 0, 88},
		{"encrypted, whole words", encrypted, 12, 88},
		{"encrypted, 15", encrypted, 15, 88},
		{"odd keeps its words", odd, 3, 36},
	} {
		padding := bytes.Repeat([]byte{0x5a}, test.padding)
		e := Encoder{Protocol: PaddedIntermediate}
		wire, err := e.Append(nil, Packet{Payload: test.payload, Padding: padding})
		if err != nil {
			t.Fatal(err)
		}
		d := Decoder{Protocol: PaddedIntermediate}
		p, _, err := d.Parse(wire)
		if err != nil || len(p.Payload) != test.want || !bytes.Equal(p.Untrimmed(), wire[4:]) {
			t.Errorf("%s: payload %d, untrimmed %d, %v", test.name, len(p.Payload), len(p.Untrimmed()), err)
		}
		again, err := e.Append(nil, p)
		if err != nil || !bytes.Equal(again, wire) {
			t.Errorf("%s: forwarded as %x, want %x", test.name, again, wire)
		}
	}
}

// The messages include those of TDLib's handshake: their random tail is part of
// the message (32 to 272 bytes after the header), and a ping's message id is 0 or
// 1.
func TestPaddingOfWholeWordsIsNotPartOfTheMessage(t *testing.T) {
	messages := [][]byte{reqPQMulti}
	for id := range byte(2) {
		for body := 32; body <= 272; body += 16 {
			m := bytes.Repeat([]byte{0xa5}, unencryptedHeader+body)
			clear(m[:unencryptedHeader])
			m[8] = id
			binary.LittleEndian.PutUint32(m[16:], uint32(body))
			messages = append(messages, m)
		}
	}
	for blocks := 3; blocks < 8; blocks++ {
		messages = append(messages, bytes.Repeat([]byte{0xa5}, encryptedHeader+16*blocks))
	}
	for _, message := range messages {
		for padding := range 16 {
			for _, from := range []Side{Client, Server} {
				e := Encoder{Protocol: PaddedIntermediate, From: from}
				d := Decoder{Protocol: PaddedIntermediate, From: from}
				wire, err := e.Append(nil, Packet{Payload: message, Padding: bytes.Repeat([]byte{0x5a}, padding)})
				if err != nil {
					t.Fatal(err)
				}
				p, n, err := d.Parse(wire)
				if err != nil || n != len(wire) || !bytes.Equal(p.Payload, message) || len(p.Padding) != padding {
					t.Errorf("%d bytes and %d of padding from a %v: %d and %d, %v", len(message), padding, from, len(p.Payload), len(p.Padding), err)
				}
			}
		}
	}
}

// Padding is random and has 0..15 bytes from a client, 0..3 from a server.
func TestPaddingCoversItsRange(t *testing.T) {
	for from, most := range map[Side]int{Client: 15, Server: 3} {
		e := Encoder{Protocol: PaddedIntermediate, From: from}
		seen := map[int]int{}
		var tails [][]byte
		for range 4000 {
			wire, err := e.Append(nil, Packet{Payload: reqPQMulti})
			if err != nil {
				t.Fatal(err)
			}
			n := len(wire) - 44
			seen[n]++
			if n == most {
				tails = append(tails, wire[44:])
			}
		}
		for n := range seen {
			if n < 0 || n > most {
				t.Errorf("%v: padding of %d bytes", from, n)
			}
		}
		if len(seen) != most+1 {
			t.Errorf("%v: %d lengths seen, want %d", from, len(seen), most+1)
		}
		if len(tails) > 1 && bytes.Equal(tails[0], tails[1]) {
			t.Errorf("%v: two paddings alike: %x", from, tails[0])
		}
	}
}
