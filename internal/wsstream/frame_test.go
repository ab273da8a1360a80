package wsstream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
)

// serverFrame encodes a server's frame.
func serverFrame(opcode byte, isFinal bool, payload []byte) []byte {
	b := []byte{opcode}
	if isFinal {
		b[0] |= final
	}
	switch n := len(payload); {
	case n <= 125:
		b = append(b, byte(n))
	case n <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return append(b, payload...)
}

// The examples of RFC 6455, section 5.7, that servers send.
func TestTheSpecificationsExamples(t *testing.T) {
	hello := []byte("Hello")
	for name, frames := range map[string][]byte{
		"whole":                  slices.Concat([]byte{0x82, 5}, hello),
		"fragmented":             slices.Concat([]byte{2, 3}, hello[:3], []byte{0x80, 2}, hello[3:]),
		"with a ping in between": slices.Concat([]byte{2, 3}, hello[:3], []byte{0x89, 5}, hello, []byte{0x80, 2}, hello[3:]),
	} {
		var d deframer
		pings := 0
		n, err := d.deframe(frames, func(opcode byte, payload []byte) error {
			if opcode != opPing || string(payload) != "Hello" {
				t.Errorf("%s: opcode %d, %q", name, opcode, payload)
			}
			pings++
			return nil
		})
		if err != nil || string(frames[:n]) != "Hello" || pings != bytes.Count([]byte(name), []byte("ping")) {
			t.Errorf("%s: %q, %v", name, frames[:n], err)
		}
	}
	for _, length := range []int{256, 64 << 10} {
		b := serverFrame(opBinary, true, make([]byte, length))
		var d deframer
		if n, err := d.deframe(b, nil); n != length || err != nil {
			t.Errorf("%d bytes: %d, %v", length, n, err)
		}
	}
	// A pong is masked with a key of 32 bits: the frame is 89 85 37 fa 21 3d 7f 9f 4d 51 58.
	masked := []byte("Hello")
	mask(masked, [4]byte{0x37, 0xfa, 0x21, 0x3d})
	if !bytes.Equal(masked, []byte{0x7f, 0x9f, 0x4d, 0x51, 0x58}) {
		t.Errorf("% x", masked)
	}
}

// A frame of a client has the mask flag and a key of its own, and the XOR with the key is
// the payload, for every length and alignment.
func TestFramesAreMasked(t *testing.T) {
	payload := make([]byte, 70_000)
	for i := range payload {
		payload[i] = byte(i * 7)
	}
	for _, n := range []int{0, 1, 3, 4, 7, 8, 31, 32, 33, 125, 126, 127, 1000, 0xffff, 0x10000, 70_000} {
		first, second := appendFrame([]byte("x"), opBinary, payload[:n]), appendFrame(nil, opBinary, payload[:n])
		if first[0] != 'x' || bytes.Equal(first[1:], second) && n > 8 {
			t.Errorf("%d bytes: two frames are the same", n)
		}
		header := len(second) - n - keyLength
		want := serverFrame(opBinary, true, payload[:n])
		want[1] |= masked
		if !bytes.Equal(second[:header], want[:header]) {
			t.Errorf("%d bytes: header % x", n, second[:header])
		}
		for i, b := range second[header+keyLength:] {
			if b^second[header+i%keyLength] != payload[i] {
				t.Fatalf("%d bytes: byte %d differs", n, i)
			}
		}
	}
}

// What no server may send is an error, and the bytes before it are not lost.
func TestBadFramesAreErrors(t *testing.T) {
	good := serverFrame(opBinary, true, []byte("good"))
	for name, bad := range map[string][]byte{
		"masked":               {0x82, 0x81, 1, 2, 3, 4, 5},
		"reserved bit":         {0xc2, 0},
		"text":                 {0x81, 0},
		"unknown opcode":       {0x83, 0},
		"unknown control":      {0x8b, 0},
		"a ping in parts":      {0x09, 0},
		"a long ping":          {0x89, 126, 0, 126},
		"a negative length":    {0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0},
		"nothing to continue":  {0x80, 0},
		"another message":      {0x02, 0, 0x82, 0},
		"a continuation twice": {0x02, 0, 0x80, 0, 0x80, 0},
	} {
		var d deframer
		b := slices.Concat(good, bad)
		n, err := d.deframe(b, func(byte, []byte) error { return nil })
		if !errors.Is(err, ErrFrame) || string(b[:n]) != "good" {
			t.Errorf("%s: %q, %v", name, b[:n], err)
		}
	}
}

// The result does not depend on how the stream is cut into reads. No control frame has
// more than 125 bytes.
func FuzzDeframe(f *testing.F) {
	f.Add(slices.Concat(serverFrame(opBinary, false, []byte("ab")), serverFrame(opPing, true, []byte("x")), serverFrame(opContinuation, true, make([]byte, 300))), uint8(1))
	f.Add(serverFrame(opClose, true, []byte("\x03\xe8       404")), uint8(5))
	f.Add([]byte{0x82, 127, 0, 0, 0, 0, 0, 0, 1, 0}, uint8(3))
	f.Fuzz(func(t *testing.T, stream []byte, step uint8) {
		run := func(step int) (data, controls []byte, err error) {
			var d deframer
			for part := range slices.Chunk(slices.Clone(stream), max(step, 1)) {
				n, err := d.deframe(part, func(opcode byte, payload []byte) error {
					if len(payload) > maxControl {
						t.Fatalf("a control frame of %d bytes", len(payload))
					}
					controls = append(append(controls, opcode, byte(len(payload))), payload...)
					return nil
				})
				data = append(data, part[:n]...)
				if err != nil {
					return data, controls, err
				}
			}
			return data, controls, nil
		}
		data, controls, err := run(len(stream))
		again, controlsAgain, errAgain := run(int(step))
		if !bytes.Equal(data, again) || !bytes.Equal(controls, controlsAgain) || (err == nil) != (errAgain == nil) {
			t.Errorf("%q, %q, %v in steps of %d: %q, %q, %v", data, controls, err, step, again, controlsAgain, errAgain)
		}
	})
}

func BenchmarkAppendFrame(b *testing.B) {
	payload, frame := make([]byte, maxPayload), make([]byte, 0, maxHeader+maxPayload)
	b.SetBytes(maxPayload)
	for b.Loop() {
		appendFrame(frame[:0], opBinary, payload)
	}
}
