package webproxy

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestFramesMatchTheProtocolsBytes(t *testing.T) {
	for text, f := range map[string]Frame{
		"100000000000000101":               {HelloFrame, 0, []byte{1}},
		"1100000000000000":                 {WelcomeFrame, 0, nil},
		"0100000100000000":                 open(1),
		"01ffffff00000000":                 open(MaxStream),
		"0200000100000004deadbeef":         {DataFrame, 1, []byte{0xde, 0xad, 0xbe, 0xef}},
		"040000010000000400010000":         window(1, 65536),
		"0300000100000000":                 closing(1),
		"050000000000000470696e67":         {PingFrame, 0, []byte("ping")},
		"060000000000000470696e67":         {PongFrame, 0, []byte("ping")},
		"1f0000000000000873687574646f776e": {ByeFrame, 0, []byte("shutdown")},
		"1f00000000000000":                 {ByeFrame, 0, nil},
	} {
		if got := hex.EncodeToString(f.Append(nil)); got != text {
			t.Errorf("%v: %s, want %s", f.Type, got, text)
		}
		got, rest, err := ParseFrame(append(mustHex(t, text), 0xff))
		if err != nil || got.Type != f.Type || got.Stream != f.Stream || !bytes.Equal(got.Payload, f.Payload) || len(rest) != 1 {
			t.Errorf("%s: %+v, %x, %v", text, got, rest, err)
		}
	}
	if got := hex.EncodeToString(AppendWelcome(AppendHello(nil))); got != "100000000000000101"+"1100000000000000" {
		t.Error(got)
	}
}

func TestFramesThatTheProtocolDoesNotHaveAreRefused(t *testing.T) {
	for _, text := range []string{
		"", "01", "01000001000000", "0200000100000004deadbe",
		"0100000000000000", "010000010000000100", // OPEN of the session; with a payload
		"0200000100000000", "020000000000000100", // DATA without bytes; of the session
		"0300000000000000", "030000010000000100", // CLOSE
		"0400000100000000", "0400000100000003000001", "040000010000000400000000", "0400000000000004" + "00000001", // WINDOW
		"0500000100000000", "0500000000000041" + strings.Repeat("00", 65), // PING of a stream; of 65 bytes
		"0600000100000000", "0600000000000041" + strings.Repeat("00", 65),
		"1000000000000000", "100000000000000102", "100000010000000101", "10000000000000020101", // HELLO
		"1100000100000000", "110000000000000100",
		"1f00000100000000",
		"0000000000000000", "0700000000000000", "1200000000000000", "1300000000000000", "ff00000000000000", // types; AUTH is reserved
		"0200000100100001", "02000001ffffffff", // lengths, before there are bytes
	} {
		if f, _, err := ParseFrame(mustHex(t, text)); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %+v, %v", text, f, err)
		}
	}
	if err := (Frame{OpenFrame, MaxStream + 1, nil}).Check(); err == nil {
		t.Error("a stream id of 25 bits passes")
	}
}

// A payload has 1 MiB at most, a batch 4,096 frames and 2 MiB.
func TestLimitsOfFramesAndBatchesAreExact(t *testing.T) {
	largest := Frame{DataFrame, 1, make([]byte, MaxPayload)}
	if err := CheckBatch(batch(largest)); err != nil {
		t.Error(err)
	}
	over := append(batch(largest), 0)
	over[6], over[7] = 0, 1
	over[5] = 0x10
	if err := CheckBatch(over); !errors.Is(err, ErrProtocol) {
		t.Errorf("a payload of %d bytes: %v", MaxPayload+1, err)
	}
	many := bytes.Repeat(batch(open(1)), MaxBatchFrames)
	if err := CheckBatch(many); err != nil {
		t.Error(err)
	}
	if err := CheckBatch(append(many, batch(open(1))...)); !errors.Is(err, ErrProtocol) {
		t.Errorf("4097 frames: %v", err)
	}
	whole := batch(largest, Frame{DataFrame, 1, make([]byte, MaxPayload-2*HeaderLength)})
	if len(whole) != MaxBatchLength || CheckBatch(whole) != nil {
		t.Error(len(whole), CheckBatch(whole))
	}
	longer := batch(largest, Frame{DataFrame, 1, make([]byte, MaxPayload-2*HeaderLength+1)})
	if err := CheckBatch(longer); !errors.Is(err, ErrProtocol) {
		t.Errorf("a batch of 2 MiB and a byte: %v", err)
	}
	for name, b := range map[string][]byte{"empty": nil, "tail": append(batch(open(1)), 1), "tail of a header": append(batch(open(1)), make([]byte, 7)...)} {
		if err := CheckBatch(b); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFramesStopsWithTheLoop(t *testing.T) {
	b := batch(open(1), data(1, "ab"), closing(1))
	var types []FrameType
	for f := range Frames(b) {
		types = append(types, f.Type)
		if f.Type == DataFrame {
			break
		}
	}
	if !slices.Equal(types, []FrameType{OpenFrame, DataFrame}) {
		t.Error(types)
	}
}

func TestParsingDoesNotAllocate(t *testing.T) {
	b := batch(open(1), data(1, "some bytes"), window(1, 5), closing(1))
	dst := make([]byte, 0, 2*len(b))
	s, frames := newSession(t, Relay), make([]Frame, 0, 4)
	s.Receive(nil, SharedLane, batch(open(1)))
	traffic := batch(data(1, "x"), window(1, 1))
	stream := s.Stream(1)
	if n := testing.AllocsPerRun(100, func() {
		if CheckBatch(b) != nil {
			t.Fatal("refused")
		}
		dst = dst[:0]
		for f := range Frames(b) {
			dst = f.Append(dst)
		}
		if _, err := s.Receive(frames, SharedLane, traffic); err != nil {
			t.Fatal(err)
		}
		dst = stream.AppendWindow(dst[:0], 1)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A batch that is accepted is encoded to the same bytes, its frames are valid, and
// its payloads are within it. What is no batch wraps ErrProtocol.
func FuzzBatch(f *testing.F) {
	f.Add(batch(open(1), data(1, "abc"), window(1, 1), closing(1)))
	f.Add(AppendWelcome(AppendHello(nil)))
	f.Add(batch(Frame{PingFrame, 0, []byte("ping")}, Frame{ByeFrame, 0, []byte("bye")}))
	f.Add([]byte("\x02\x00\x00\x01\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := CheckBatch(b); err != nil {
			if !errors.Is(err, ErrProtocol) {
				t.Fatal(err)
			}
			return
		}
		var again []byte
		for frame := range Frames(b) {
			if err := frame.Check(); err != nil {
				t.Fatal(err)
			}
			again = frame.Append(again)
		}
		if !bytes.Equal(again, b) {
			t.Fatalf("%x is encoded as %x", b, again)
		}
	})
}

// ParseFrame accepts what Append makes of every valid frame, and nothing less.
func FuzzFrame(f *testing.F) {
	f.Add(uint8(DataFrame), uint32(1), []byte("abc"))
	f.Add(uint8(WindowFrame), uint32(MaxStream), []byte{0, 0, 0, 1})
	f.Add(uint8(HelloFrame), uint32(0), []byte{1})
	f.Fuzz(func(t *testing.T, typ uint8, stream uint32, payload []byte) {
		frame := Frame{FrameType(typ), stream, payload}
		if frame.Check() != nil {
			return
		}
		b := frame.Append(nil)
		got, rest, err := ParseFrame(b)
		if err != nil || got.Type != frame.Type || got.Stream != stream || !bytes.Equal(got.Payload, payload) || len(rest) != 0 {
			t.Fatalf("%+v: %+v, %x, %v", frame, got, rest, err)
		}
		if _, _, err := ParseFrame(b[:rand.IntN(len(b))]); !errors.Is(err, ErrProtocol) {
			t.Fatal("a part of a frame is accepted", err)
		}
	})
}
