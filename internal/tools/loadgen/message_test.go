package loadgen

import (
	"bytes"
	"testing"
)

// Valid lengths are those of encrypted messages, 24+16n bytes, within the limits.
func TestPacketSizesAreThoseOfEncryptedMessages(t *testing.T) {
	for n := range 2000 {
		if n >= 1000 {
			n += MaxLength - 1500
		}
		ok := n >= 72 && n <= MaxLength && n%16 == 8
		if err := CheckPacketSize(n); (err == nil) != ok {
			t.Fatalf("%d: %v", n, err)
		}
		r := RoundPacketSize(n)
		if CheckPacketSize(r) != nil || r > n && n >= MinLength || n-r >= 16 && n <= MaxLength {
			t.Fatalf("%d is rounded to %d", n, r)
		}
	}
}

// A parsed message has every byte of its input, and a request that is returned
// without an error has a length within the limits.
func FuzzMessage(f *testing.F) {
	f.Add(append([]byte(nil), fill(nil, 7, MinLength)...))
	f.Add([]byte("too short"))
	b := make([]byte, MinLength)
	putHeader(b, kindDownload, 1, request{3, MaxLength}.number())
	f.Add(b)
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
		if r, err := parseRequest(m.number); err == nil && (r.length > MaxLength || r.number() != m.number) {
			t.Fatalf("%x requests %+v", m.number, r)
		}
	})
}

// Making a packet after the first of a stream, and verifying a packet, do not
// allocate.
func TestPacketsDoNotAllocate(t *testing.T) {
	buffer := fill(nil, 1, RoundPacketSize(64<<10))
	if n := testing.AllocsPerRun(100, func() {
		buffer = fill(buffer, 1, len(buffer))
		putHeader(buffer, kindData, 1, 2)
		if m, err := parseMessage(buffer); err != nil || !m.intact() {
			t.Error("not what was written")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A change of any byte of the data is detected.
func TestOneChangedByteIsDetected(t *testing.T) {
	buffer := fill(nil, 5, MinLength)
	for i := headerSize; i < len(buffer); i++ {
		buffer[i] ^= 0x20
		if m, _ := parseMessage(buffer); m.intact() {
			t.Errorf("a change of byte %d is not detected", i)
		}
		buffer[i] ^= 0x20
	}
}
