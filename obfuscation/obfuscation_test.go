package obfuscation

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/cpu"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// example is a worked example: a fixed init payload, a packet, and an error in
// answer.
type example struct {
	name     string
	protocol frame.Protocol
	dc       datacenter.DC
	secret   string
	wire     string // bytes 56..64
	packet   string // after the envelope, encrypted
	answer   string // -404, encrypted
}

var examples = []example{
	{"no secret, intermediate, DC 2", frame.Intermediate, 2, "", "33bd9484f1fbdbc1",
		"f5004d2a9d4aeedc3c99effa13004de8239e3858419015143bf329580ad1ecf5f3a188fd0c9174fbc02c7185", "fc8d187a86e838b0"},
	{"secret, abridged, media DC 4", frame.Abridged, -4, "000102030405060708090a0b0c0d0e0f", "b23c0578356fb2ae",
		"fef2e1af44ff957665438c79bee2b2f411b11e0b80f5bfffcb0d27cff1d1e2439e01861c96a553e6e0", "602c969408"},
	{"dd secret, padded, test DC 2", frame.PaddedIntermediate, 10002, "dd000102030405060708090a0b0c0d0e0f", "800e374adbb7b2ae",
		"dbf2e1af44ff9576653bda4dd4b4869676a56e6c940431818423f8d3f2d4e5469d0c891195a054e3e346351589fd317a148d8a", "6540686b9b375188"},
	{"dd secret of the official example, padded, media DC 4", frame.PaddedIntermediate, -4, "dd99999999999999999999999999999999", "139d222a24e44b01",
		"62983e332ce7ff72fa462637a1902823bd34297566b2b7cda48ee1ed207299149decd8554a38a8eef9075567d42821e37ca7d2", "2925c0fd44c7f50e"},
}

// random is bytes 1, 2, ... 38 (hexadecimal), eight to be overwritten, and aa bb.
func random() []byte {
	b := make([]byte, InitLength)
	for i := range b[:56] {
		b[i] = byte(i + 1)
	}
	b[62], b[63] = 0xaa, 0xbb
	return b
}

func (e example) keys() [][16]byte {
	if e.secret == "" {
		return nil
	}
	return [][16]byte{[16]byte(unhex(strings.TrimPrefix(e.secret, "dd")))}
}

func (e example) client() *ClientConfig {
	c := &ClientConfig{Protocol: e.protocol, DC: e.dc, Rand: bytes.NewReader(random())}
	if keys := e.keys(); keys != nil {
		c.Key = &keys[0]
	}
	return c
}

var reqPQMulti = unhex("0000000000000000785634120000706714000000f18e7ebea0a1a2a3a4a5a6a7a8a9aaabacadaeaf")

// The init payload, the first packet and the answer, byte for byte, as client
// and as server.
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

// "Use the union of all rows": a generator that is fed each forbidden
// beginning draws again.
func TestForbiddenBeginningsAreDrawnAgain(t *testing.T) {
	for _, first := range []string{
		"ef01020304050607", "4845414404050607", "504f535404050607", "4745542004050607", "4f50544904050607",
		"eeeeeeee04050607", "dddddddd04050607", "1603010204050607", "16030106ffffffff", "1603030104050607",
		"5056724704050607", "0102030400000000",
	} {
		bad := append(unhex(first), random()[8:]...)
		c := &ClientConfig{Protocol: frame.Abridged, Rand: bytes.NewReader(append(bad, random()...))}
		init, _, err := NewInit(c)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(init[:8], random()[:8]) {
			t.Errorf("%s was not refused: %x", first, init[:8])
		}
		if !Forbidden([8]byte(bad)) {
			t.Errorf("Forbidden(%s) = false", first)
		}
	}
	// The second word is at offset 4. A zero in the first alone is allowed.
	if Forbidden([8]byte{0, 0, 0, 0, 1}) {
		t.Error("a zero first word was refused")
	}
}

// Match returns the index of the key that fits, and ErrNoMatch otherwise.
func TestServerFindsTheKey(t *testing.T) {
	keys := manyKeys(40)
	for n := 1; n <= len(keys); n++ {
		for i := range n {
			payload, _, err := NewInit(&ClientConfig{Protocol: frame.Intermediate, DC: 1, Key: &keys[i]})
			if err != nil {
				t.Fatal(err)
			}
			found, err := Match(&payload, keys[:n])
			if err != nil || found.Key != i {
				t.Errorf("key %d of %d: found %d, %v", i, n, found.Key, err)
			}
			if _, err := Match(&payload, keys[i+1:n]); !errors.Is(err, ErrNoMatch) && i+1 < n {
				t.Errorf("without the key: %v", err)
			}
			if _, err := Match(&payload, nil); !errors.Is(err, ErrNoMatch) {
				t.Errorf("without any key: %v", err)
			}
		}
	}
}

// manyKeys returns keys that differ.
func manyKeys(n int) [][16]byte {
	keys := make([][16]byte, n)
	for i := range keys {
		keys[i] = [16]byte{byte(i), byte(i >> 8), 1}
	}
	return keys
}

// Users may share a key and differ in their domains; the first is meant.
func TestFirstOfEqualKeysIsFound(t *testing.T) {
	keys := manyKeys(20)
	keys[18], keys[19] = keys[17], keys[17]
	payload, _, err := NewInit(&ClientConfig{Protocol: frame.Abridged, Key: &keys[19]})
	if err != nil {
		t.Fatal(err)
	}
	if found, err := Match(&payload, keys); err != nil || found.Key != 17 {
		t.Errorf("found %d, %v; want 17", found.Key, err)
	}
}

// Trying keys allocates nothing with vector instructions, and one cipher a key
// without. A match allocates no more.
func TestTrialsAllocateNothing(t *testing.T) {
	keys, payload := manyKeys(100), [InitLength]byte(random())
	most := float64(len(keys) + 20)
	if runtime.GOARCH == "amd64" && cpu.X86.HasAVX2 && cpu.X86.HasAES {
		most = 0
	}
	if n := testing.AllocsPerRun(20, func() { Match(&payload, keys) }); n > most {
		t.Errorf("%v allocations for %d keys, want at most %v", n, len(keys), most)
	}
	matching, _, err := NewInit(&ClientConfig{Protocol: frame.Abridged, Key: &keys[99]})
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(20, func() { Match(&matching, keys) }); n > most+1 {
		t.Errorf("%v allocations for a match, want at most %v", n, most+1)
	}
}

// "refuse by default; offer as an explicit option for endpoint use."
func TestFullNeedsAnExplicitChoice(t *testing.T) {
	if _, _, err := NewInit(&ClientConfig{Protocol: frame.Full}); !errors.Is(err, ErrFull) {
		t.Errorf("by default: %v", err)
	}
	key := [16]byte{5}
	for _, keys := range [][][16]byte{nil, {{}, key}} {
		config := &ClientConfig{Protocol: frame.Full, AllowFull: true, DC: -2}
		if keys != nil {
			config.Key = &key
		}
		payload, init, err := NewInit(config)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Match(&payload, keys); !errors.Is(err, ErrNoMatch) {
			t.Errorf("Match took it for a tagged protocol: %v", err)
		}
		e := frame.Encoder{Protocol: frame.Full}
		packet, err := e.Append(nil, frame.Packet{Payload: reqPQMulti})
		if err != nil {
			t.Fatal(err)
		}
		init.Streams(frame.Client).Send.XORKeyStream(packet, packet)
		first := [FullLength]byte(append(payload[:], packet...))
		found, err := MatchFull(&first, keys, 0)
		if err != nil || found.Protocol != frame.Full || found.DC != -2 || found.Key != len(keys)-1 {
			t.Fatalf("%+v, %v", found, err)
		}
		found.Streams(frame.Server).Receive.XORKeyStream(packet, packet)
		d := frame.Decoder{Protocol: frame.Full}
		if p, _, err := d.Parse(packet); err != nil || !bytes.Equal(p.Payload, reqPQMulti) {
			t.Errorf("%+v, %v", p, err)
		}
		first[70] ^= 1
		if _, err := MatchFull(&first, keys, 0); !errors.Is(err, ErrNoMatch) {
			t.Errorf("a wrong sequence number: %v", err)
		}
	}
}

// A proxy asks the data centre for the key stream that its client expects.
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
	answer := []byte("what the data centre says")
	wire := make([]byte, len(answer))
	dc.Streams(frame.Server).Send.XORKeyStream(wire, answer)
	client.Streams(frame.Client).Receive.XORKeyStream(wire, wire)
	if !bytes.Equal(wire, answer) {
		t.Errorf("the client reads %q", wire)
	}
	if _, _, err := NewInit(&ClientConfig{Protocol: frame.Abridged, Download: &init.Download, Key: &key}); err == nil {
		t.Error("a given key stream and a key were accepted together")
	}
}

// recorder counts Writes and keeps their bytes.
type recorder struct {
	net.Conn
	writes int
	bytes  []byte
	fail   error
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.fail != nil {
		return 3, r.fail
	}
	r.writes++
	r.bytes = append(r.bytes, p...)
	return len(p), nil
}

// "Write never encrypts the caller's buffer", "one packet, one Write", the
// init payload in one piece with the first packet.
func TestWriteSendsOnceAndLeavesItsInputAlone(t *testing.T) {
	for _, size := range []int{40, shortBody + 4, 64 << 10} {
		r := &recorder{}
		c, err := Client(r, &ClientConfig{Protocol: frame.Intermediate})
		if err != nil {
			t.Fatal(err)
		}
		head, body, tail := []byte("head"), bytes.Repeat([]byte("abcd"), size/4), []byte("tail")
		want := append(append(bytes.Clone(head), body...), tail...)
		n, err := c.WritePieces(head, body, tail)
		if err != nil || n != len(want) || r.writes != 1 || len(r.bytes) != InitLength+n {
			t.Fatalf("n = %d, %v, %d writes of %d bytes", n, err, r.writes, len(r.bytes))
		}
		if n, err = c.Write(body); err != nil || n != len(body) || r.writes != 2 {
			t.Fatalf("n = %d, %v, %d writes", n, err, r.writes)
		}
		if !bytes.Equal(body, bytes.Repeat([]byte("abcd"), size/4)) {
			t.Error("the caller's bytes were changed")
		}
		payload := [InitLength]byte(r.bytes)
		init, err := Match(&payload, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := r.bytes[InitLength:]
		init.Streams(frame.Server).Receive.XORKeyStream(got, got)
		if !bytes.Equal(got, append(want, body...)) {
			t.Errorf("%d bytes: the server reads something else", size)
		}
	}
}

// "a CTR stream after a partial write is dead, and says so", "n reported
// honestly".
func TestFailedWriteIsKeptForEver(t *testing.T) {
	r := &recorder{fail: os.ErrDeadlineExceeded}
	c, err := Client(r, &ClientConfig{Protocol: frame.Abridged})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := c.Write(make([]byte, 100)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("n = %d, %v", n, err)
	}
	r.fail = nil
	if n, err := c.Write(make([]byte, 100)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || r.writes != 0 {
		t.Errorf("afterwards: n = %d, %v, %d writes", n, err, r.writes)
	}
}

// A read timeout loses no byte, so reading goes on; an end is for ever.
func TestReadGoesOnAfterATimeout(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	done := make(chan error, 1)
	go func() {
		c, err := Client(far, &ClientConfig{Protocol: frame.Intermediate})
		if err == nil {
			_, err = c.Write([]byte("hello"))
		}
		done <- err
	}()
	server, _, err := Accept(near, nil)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2)
	if _, err := io.ReadFull(server, buf); err != nil || string(buf) != "he" {
		t.Fatalf("%q, %v", buf, err)
	}
	server.SetReadDeadline(time.Now())
	if _, err := server.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	server.SetReadDeadline(time.Time{})
	rest, err := io.ReadAll(io.LimitReader(server, 3))
	if err != nil || string(rest) != "llo" {
		t.Errorf("%q, %v", rest, err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	far.Close()
	for range 2 {
		if _, err := server.Read(buf); err != io.EOF {
			t.Errorf("at the end: %v", err)
		}
	}
}

// "Steady state: 0 allocations per packet."
func TestConnDoesNotAllocate(t *testing.T) {
	r := &loop{}
	c, err := Client(r, &ClientConfig{Protocol: frame.Intermediate})
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 64<<10)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := c.WritePieces(b[:4], b, b[:3]); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(b); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// loop takes everything and always has more.
type loop struct{ net.Conn }

func (*loop) Write(p []byte) (int, error) { return len(p), nil }
func (*loop) Read(p []byte) (int, error)  { return len(p), nil }

// FuzzMatch: any 72 bytes are matched or not, without a panic; what matches
// has a tag, or fits Full.
func FuzzMatch(f *testing.F) {
	key := [16]byte{1}
	for _, protocol := range frame.Protocols {
		payload, _, err := NewInit(&ClientConfig{Protocol: protocol, AllowFull: true, Key: &key, DC: 2})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(append(payload[:], 0, 0, 0, 0, 0, 0, 0, 0))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var first [FullLength]byte
		copy(first[:], b)
		payload := [InitLength]byte(first[:])
		if init, err := Match(&payload, [][16]byte{key}); err == nil {
			tag, ok := init.Protocol.Tag()
			if !ok {
				t.Fatalf("%+v", init)
			}
			// The stream decrypts the payload to the tag and the DC returned.
			clear := payload
			init.Upload.StreamAt(0).XORKeyStream(clear[:], payload[:])
			if [4]byte(clear[tagStart:]) != tag || datacenter.DC(binary.LittleEndian.Uint16(clear[dcStart:])) != init.DC {
				t.Fatalf("%x, matched %v, DC %v", clear[tagStart:], init.Protocol, init.DC)
			}
		}
		if init, err := MatchFull(&first, [][16]byte{key}, 0); err == nil && init.Protocol != frame.Full {
			t.Fatalf("%+v", init)
		}
	})
}

// BenchmarkConnWrite64KiB and BenchmarkCTR64KiB are to be compared: what a
// packet costs beyond its cipher.
func BenchmarkConnWrite64KiB(b *testing.B) {
	c, err := Client(&loop{}, &ClientConfig{Protocol: frame.Intermediate})
	if err != nil {
		b.Fatal(err)
	}
	p := make([]byte, 64<<10)
	head := make([]byte, 4)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.WritePieces(head, p, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkConnRead64KiB(b *testing.B) {
	c, err := Client(&loop{}, &ClientConfig{Protocol: frame.Intermediate})
	if err != nil {
		b.Fatal(err)
	}
	p := make([]byte, 64<<10)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Read(p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCTR64KiB(b *testing.B) {
	var k KeyStream
	s := k.StreamAt(0)
	src, dst := make([]byte, 64<<10), make([]byte, 64<<10)
	b.SetBytes(int64(len(src)))
	b.ReportAllocs()
	for b.Loop() {
		s.XORKeyStream(dst, src)
	}
}

// BenchmarkMatch10000Keys is the cost of an init payload that none of 10,000 keys
// fits.
func BenchmarkMatch10000Keys(b *testing.B) {
	keys, payload := manyKeys(10000), [InitLength]byte(random())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Match(&payload, keys); err == nil {
			b.Fatal("matched")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(keys)), "ns/key")
}
