package loadgen

import (
	"bytes"
	"testing"
)

// "8-byte non-zero key id first, lengths 24+16n": the lengths that are taken,
// and no others.
func TestPacketSizesAreThoseOfEncryptedMessages(t *testing.T) {
	for n := range 2000 {
		if n >= 1000 {
			n += MaxPacket - 1500
		}
		ok := n >= 72 && n <= MaxPacket && n%16 == 8
		if err := CheckPacketSize(n); (err == nil) != ok {
			t.Fatalf("%d: %v", n, err)
		}
		r := RoundPacketSize(n)
		if CheckPacketSize(r) != nil || r > n && n >= MinPacket || n-r >= 16 && n <= MaxPacket {
			t.Fatalf("%d is rounded to %d", n, r)
		}
	}
}

// A length is checked before memory is taken, and what is read is what was
// written.
func FuzzMessage(f *testing.F) {
	f.Add(append([]byte(nil), fill(nil, 7, MinPacket)...))
	f.Add([]byte("too short"))
	request := make([]byte, MinPacket)
	putHeader(request, download, 1, demand{3, MaxPacket}.number())
	f.Add(request)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMessage(b)
		if err != nil {
			return
		}
		again := make([]byte, headerSize, len(b))
		putHeader(again, m.kind, m.stream, m.number)
		if !bytes.Equal(append(again, m.data...), b) {
			t.Fatalf("%x was read as %+v", b, m)
		}
		m.intact()
		if d, err := parseDemand(m.number); err == nil && (d.length > MaxPacket || d.number() != m.number) {
			t.Fatalf("%x demands %+v", m.number, d)
		}
	})
}

// "Sending copies nothing": a packet after the first costs no memory, nor does
// looking at one.
func TestPacketsCostNoMemory(t *testing.T) {
	buffer := fill(nil, 1, RoundPacketSize(64<<10))
	if n := testing.AllocsPerRun(100, func() {
		buffer = fill(buffer, 1, len(buffer))
		putHeader(buffer, data, 1, 2)
		if m, err := parseMessage(buffer); err != nil || !m.intact() {
			t.Error("not what was written")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Any one byte makes a difference.
func TestOneChangedByteIsSeen(t *testing.T) {
	buffer := fill(nil, 5, MinPacket)
	for i := headerSize; i < len(buffer); i++ {
		buffer[i] ^= 0x20
		if m, _ := parseMessage(buffer); m.intact() {
			t.Errorf("byte %d is of no importance", i)
		}
		buffer[i] ^= 0x20
	}
}
