package wsstream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
)

// clientFrame encodes a client's frame, with a key that is not zero.
func clientFrame(first byte, payload []byte) []byte {
	b := appendHeader(nil, 0, masked, len(payload))
	b[0] = first
	key := [keyLength]byte{0x37, 0xfa, 0x21, 0x3d}
	b = append(b, key[:]...)
	start := len(b)
	b = append(b, payload...)
	mask(b[start:], key)
	return b
}

// received is what a stream has.
type received struct {
	messages, controls []string
	data               int
}

// feedIn feeds a stream in pieces of size bytes, until an error other than ErrText.
func feedIn(m *messages, stream []byte, size int) (got received, err error) {
	feed := func(b []byte) bool {
		data, failed := m.feed(b, got.message, got.control)
		got.data += data
		if failed != nil {
			err = failed
		}
		return failed == nil || failed == ErrText
	}
	for piece := range slices.Chunk(bytes.Clone(stream), size) {
		if into := m.space(); into != nil { // as Receive does
			n := copy(into, piece)
			if piece = piece[n:]; !feed(into[:n]) {
				return got, err
			}
		}
		if !feed(piece) {
			return got, err
		}
	}
	return got, err
}

func (r *received) message(b []byte) error { r.messages = append(r.messages, string(b)); return nil }
func (r *received) control(opcode byte, b []byte) error {
	r.controls = append(r.controls, fmt.Sprintf("%x %s", opcode, b))
	return nil
}

func newMessages(max int) *messages {
	return &messages{frameReader: frameReader{fromClient: true}, max: max}
}

// Messages are the same wherever the stream is cut, in one frame or in several, with control
// frames in between.
func TestMessagesOfAStreamThatIsCutAnywhere(t *testing.T) {
	long := bytes.Repeat([]byte("0123456789abc"), 6_000)
	stream := slices.Concat(
		clientFrame(0x82, []byte("Hello")), clientFrame(0x82, nil),
		clientFrame(2, []byte("Hel")), clientFrame(0x89, []byte("ping")), clientFrame(0, nil), clientFrame(0x80, []byte("lo")),
		clientFrame(0x82, long[:300]), clientFrame(0x8a, nil), clientFrame(0x82, long),
		clientFrame(2, nil), clientFrame(0x80, nil),
		clientFrame(2, long[:7]), clientFrame(0x80, long[7:]), clientFrame(0x88, []byte{3, 0xe8}))
	want := received{
		[]string{"Hello", "", "Hello", string(long[:300]), string(long), "", string(long)},
		[]string{"9 ping", "a ", "8 \x03\xe8"}, 10 + 300 + 2*len(long),
	}
	for _, size := range []int{1, 2, 3, 5, 7, 13, 64, 1000, 4096, 16 << 10, 70_000, len(stream)} {
		m := newMessages(len(long))
		got, err := feedIn(m, stream, size)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("in pieces of %d: %v, %d messages, %q", size, err, len(got.messages), got.controls)
		}
		if m.buffer != nil || m.partial() {
			t.Errorf("in pieces of %d: a buffer is left", size)
		}
	}
	// Section 5.7: a masked "Hello", as bytes of the specification.
	got, err := feedIn(newMessages(5), []byte{0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58}, 4)
	if err != nil || len(got.messages) != 1 || got.messages[0] != "Hello" {
		t.Error(got, err)
	}
}

// What no client may send is an error, as soon as it is seen.
func TestFramesThatNoClientSends(t *testing.T) {
	good := clientFrame(0x82, []byte("good"))
	for name, c := range map[string]struct {
		frames []byte
		want   error
	}{
		"without a mask":           {[]byte{0x82, 4}, ErrFrame},
		"a reserved bit":           {clientFrame(0xc2, nil), ErrFrame},
		"an unknown opcode":        {clientFrame(0x83, nil), ErrFrame},
		"an unknown control frame": {clientFrame(0x8b, nil), ErrFrame},
		"a ping in parts":          {clientFrame(9, nil), ErrFrame},
		"a long ping":              {clientFrame(0x89, make([]byte, 126)), ErrFrame},
		"nothing to continue":      {clientFrame(0x80, nil), ErrFrame},
		"a message in a message":   {append(clientFrame(2, nil), clientFrame(0x82, nil)...), ErrFrame},
		"a negative length":        {append(binary.BigEndian.AppendUint64([]byte{0x82, masked | 127}, 1<<63), 0, 0, 0, 0), ErrFrame},
		"text":                     {clientFrame(0x81, []byte("x")), ErrText},
		"text in parts":            {clientFrame(1, []byte("x")), ErrText},
		"too long":                 {clientFrame(0x82, make([]byte, 101)), ErrTooLong},
		"too long in parts":        {append(clientFrame(2, make([]byte, 100)), clientFrame(0x80, []byte("x"))...), ErrTooLong},
		"a length for ever":        {append(binary.BigEndian.AppendUint64([]byte{0x82, masked | 127}, 1<<63-1), 0, 0, 0, 0), ErrTooLong},
	} {
		for _, size := range []int{1, 1000} {
			got, err := feedIn(newMessages(100), slices.Concat(good, c.frames), size)
			if !errors.Is(err, c.want) || len(got.messages) != 1 || got.messages[0] != "good" {
				t.Errorf("%s: %v, %q", name, err, got.messages)
			}
		}
	}
}

// After an error of the caller's the messages are discarded, up to a close frame in the same
// bytes.
func TestMessagesAfterAnErrorAreDiscarded(t *testing.T) {
	stream := slices.Concat(clientFrame(0x82, []byte("bad")), clientFrame(0x82, []byte("b")), clientFrame(0x82, make([]byte, 1000)), clientFrame(0x88, nil))
	bad, closed := errors.New("bad"), 0
	m := newMessages(100)
	n, err := m.feed(bytes.Clone(stream), func(b []byte) error {
		if string(b) != "bad" {
			t.Errorf("%q", b)
		}
		return bad
	}, func(byte, []byte) error { closed++; return nil })
	if n != 1004 || err != bad || closed != 1 || m.buffer != nil {
		t.Errorf("%d bytes, %v, %d close frames", n, err, closed)
	}
}

// A length that a header states takes no memory: that grows with what has come.
func TestALengthTakesNoMemory(t *testing.T) {
	const max = 2 << 20
	m := newMessages(max)
	stream := clientFrame(0x82, make([]byte, max))
	header := len(stream) - max
	for come := 0; come < max; {
		n := 1000
		if come == 0 {
			n += header
		}
		var got received
		if _, err := m.feed(stream[:n], got.message, got.control); err != nil {
			t.Fatal(err)
		}
		come, stream = come+1000, stream[n:]
		m.space() // as Receive does
		if len(stream) < 2000 {
			break
		}
		if have := len(m.buffer.B); have > 4*come+8<<10 {
			t.Fatalf("%d bytes for a message of which %d have come", have, come)
		}
	}
	m.release()
}

func FuzzMessages(f *testing.F) {
	f.Add(slices.Concat(clientFrame(0x82, []byte("a")), clientFrame(2, []byte("bc")), clientFrame(0x89, nil), clientFrame(0x80, []byte("d"))), uint16(3))
	f.Add(clientFrame(0x82, make([]byte, 9000)), uint16(4097))
	f.Add([]byte{0x82, 0x84, 1}, uint16(1))
	// Messages do not depend on where the stream is cut, and none is longer than the limit.
	f.Fuzz(func(t *testing.T, stream []byte, size uint16) {
		const max = 1 << 16
		whole, err := feedIn(newMessages(max), stream, len(stream)+1)
		cut, failed := feedIn(newMessages(max), stream, int(size)+1)
		if fmt.Sprint(err) != fmt.Sprint(failed) || !slices.Equal(whole.messages, cut.messages) || !slices.Equal(whole.controls, cut.controls) {
			t.Errorf("%v, %v; in pieces %v, %v", err, whole, failed, cut)
		}
		for _, message := range whole.messages {
			if len(message) > max {
				t.Errorf("%d bytes", len(message))
			}
		}
	})
}
