package bench

import (
	"bytes"
	"io"
	"testing"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/proto/codec"
	"github.com/gotd/td/transport"
	"github.com/mtwire/mtwire/frame"
)

// framing is a framing in mtwire and in gotd. target is the ratio to reach for
// payloads of 1 KiB and more.
type framing struct {
	protocol frame.Protocol
	gotd     transport.Protocol
	target   float64
}

var framings = []framing{
	{frame.Abridged, transport.Abridged, 10},
	{frame.Intermediate, transport.Intermediate, 10},
	{frame.PaddedIntermediate, transport.PaddedIntermediate, 10},
	{frame.Full, transport.Full, 4},
}

// streamLength is the approximate length of a row of frames in bytes: that of one
// read from a socket by mtwire, so that the frames are still in the CPU's cache.
const streamLength = 64 << 10

// codecBench is the data for one framing and size.
type codecBench struct {
	framing
	payload []byte
	frames  int
	wire    []byte // the frames, encoded by gotd
}

func newCodecBench(f framing, size int) *codecBench {
	c := &codecBench{framing: f, payload: message(size, 1), frames: max(4, streamLength/size)}
	var out wire
	encoder := f.gotd.Codec()
	for i := range c.frames {
		// Each payload differs: gotd derives the length of its padding from the
		// payload.
		b := bin.Buffer{Buf: message(size, uint64(i))}
		if err := encoder.Write(&out, &b); err != nil {
			panic("internal error: " + err.Error())
		}
	}
	c.wire = out.b
	return c
}

// wire is the cheapest io.Writer by which gotd can write to memory.
type wire struct{ b []byte }

func (w *wire) Write(p []byte) (int, error) {
	w.b = append(w.b, p...)
	return len(p), nil
}

// codecCases returns the comparisons of codecs. The data of a case is made when it
// is first run.
func codecCases() []Case {
	var cases []Case
	kinds := []struct {
		group       string
		target      bool
		ours, other func(c *codecBench, b *testing.B)
	}{
		{"decode", true, (*codecBench).parse, (*codecBench).gotdRead},
		{"decode, both copy", false, (*codecBench).readAndParse, (*codecBench).gotdRead},
		{"encode", true, (*codecBench).appendFrames, (*codecBench).gotdWrite},
		{"encode, neither copies", false, (*codecBench).envelope, (*codecBench).gotdWriteDiscard},
		{"encode and decode", true, (*codecBench).appendAndParse, (*codecBench).gotdWriteAndRead},
	}
	for _, kind := range kinds {
		for _, f := range framings {
			for _, size := range sizes {
				var data *codecBench
				side := func(run func(c *codecBench, b *testing.B)) func(b *testing.B) {
					return func(b *testing.B) {
						if data == nil {
							data = newCodecBench(f, size.bytes)
						}
						b.SetBytes(int64(size.bytes))
						b.ReportAllocs()
						b.ResetTimer()
						run(data, b)
					}
				}
				c := Case{
					Group: kind.group, Name: f.protocol.String() + "/" + size.name, Bytes: size.bytes,
					Ours: side(kind.ours), Other: side(kind.other), Versus: Gotd,
				}
				if kind.target && size.bytes > 1000 {
					c.Target = f.target
				}
				cases = append(cases, c)
			}
		}
	}
	return cases
}

// parse decodes in place.
func (c *codecBench) parse(b *testing.B) {
	sum := uint32(0)
	for i := 0; i < b.N; {
		d := frame.Decoder{Protocol: c.protocol, From: frame.Server}
		for rest := c.wire; len(rest) > 0 && i < b.N; i++ {
			payload, _, n := d.ParsePayload(rest)
			if n == 0 { // Full has no fast path
				p, m, err := d.Parse(rest)
				if err != nil || p.Kind != frame.KindPayload {
					b.Fatal(p.Kind, err)
				}
				payload, n = p.Payload, m
			}
			sum += touch(payload)
			rest = rest[n:]
		}
	}
	sink += sum
}

// readAndParse reads from the same reader as gotdRead, as many bytes at a time as
// mtwire.Conn reads from a socket, and decodes them in the receive buffer.
func (c *codecBench) readAndParse(b *testing.B) {
	sum := uint32(0)
	buf := make([]byte, 128<<10)
	r := bytes.NewReader(nil)
	for i := 0; i < b.N; {
		r.Reset(c.wire)
		d := frame.Decoder{Protocol: c.protocol, From: frame.Server}
		start, end := 0, 0
		for i < b.N {
			p, n, err := d.Parse(buf[start:end])
			if err == frame.ErrIncomplete {
				end = copy(buf, buf[start:end])
				start = 0
				n, err := io.Reader(r).Read(buf[end:])
				if err == io.EOF {
					break
				}
				end += n
				continue
			}
			if err != nil || p.Kind != frame.KindPayload {
				b.Fatal(p.Kind, err)
			}
			sum += touch(p.Payload)
			start += n
			i++
		}
	}
	sink += sum
}

// newGotd returns a codec, and a function that resets its sequence numbers to 0.
func (c *codecBench) newGotd() (made transport.Codec, restart func()) {
	made = c.gotd.Codec()
	if full, ok := made.(*codec.Full); ok {
		return made, func() { *full = codec.Full{} }
	}
	return made, func() {}
}

// gotdRead decodes as gotd's connection does, into one buffer that is reused.
func (c *codecBench) gotdRead(b *testing.B) {
	sum := uint32(0)
	r := bytes.NewReader(nil)
	var buf bin.Buffer
	decoder, restart := c.newGotd()
	for i := 0; i < b.N; {
		r.Reset(c.wire)
		restart()
		for ; r.Len() > 0 && i < b.N; i++ {
			if err := decoder.Read(r, &buf); err != nil {
				b.Fatal(err)
			}
			sum += touch(buf.Buf)
		}
	}
	sink += sum
}

// appendFrames encodes frames one after the other.
func (c *codecBench) appendFrames(b *testing.B) {
	out := make([]byte, 0, len(c.wire)+16*c.frames)
	e := frame.Encoder{Protocol: c.protocol}
	for i := 0; i < b.N; {
		out = out[:0]
		for n := 0; n < c.frames && i < b.N; n++ {
			var err error
			if out, err = e.Append(out, frame.Packet{Payload: c.payload}); err != nil {
				b.Fatal(err)
			}
			i++
		}
	}
	sink += touch(out)
}

// gotdWrite encodes frames one after the other.
func (c *codecBench) gotdWrite(b *testing.B) {
	out := wire{make([]byte, 0, len(c.wire)+16*c.frames)}
	message := bin.Buffer{Buf: bytes.Clone(c.payload)}
	encoder, _ := c.newGotd()
	for i := 0; i < b.N; {
		out.b = out.b[:0]
		for n := 0; n < c.frames && i < b.N; n++ {
			if err := encoder.Write(&out, &message); err != nil {
				b.Fatal(err)
			}
			i++
		}
	}
	sink += touch(out.b)
}

// envelope encodes the bytes around the payload, and writes the three pieces.
func (c *codecBench) envelope(b *testing.B) {
	e := frame.Encoder{Protocol: c.protocol}
	p := frame.Packet{Payload: c.payload}
	for range b.N {
		env, err := e.Envelope(&p)
		if err != nil {
			b.Fatal(err)
		}
		io.Discard.Write(env.Head())
		io.Discard.Write(env.Body(&p))
		io.Discard.Write(env.Tail(&p))
	}
}

// gotdWriteDiscard encodes frames as gotd's own benchmarks do.
func (c *codecBench) gotdWriteDiscard(b *testing.B) {
	message := bin.Buffer{Buf: bytes.Clone(c.payload)}
	encoder, _ := c.newGotd()
	for range b.N {
		if err := encoder.Write(io.Discard, &message); err != nil {
			b.Fatal(err)
		}
	}
}

// appendAndParse encodes and decodes one frame at a time.
func (c *codecBench) appendAndParse(b *testing.B) {
	sum := uint32(0)
	out := make([]byte, 0, len(c.payload)+64)
	e := frame.Encoder{Protocol: c.protocol}
	d := frame.Decoder{Protocol: c.protocol, From: frame.Client}
	for range b.N {
		var err error
		if out, err = e.Append(out[:0], frame.Packet{Payload: c.payload}); err != nil {
			b.Fatal(err)
		}
		p, _, err := d.Parse(out)
		if err != nil {
			b.Fatal(err)
		}
		sum += touch(p.Payload)
	}
	sink += sum
}

// gotdWriteAndRead encodes and decodes one frame at a time.
func (c *codecBench) gotdWriteAndRead(b *testing.B) {
	sum := uint32(0)
	var out wire
	r := bytes.NewReader(nil)
	message := bin.Buffer{Buf: bytes.Clone(c.payload)}
	var received bin.Buffer
	// A codec of Full has a sequence number for each direction.
	both, _ := c.newGotd()
	for range b.N {
		out.b = out.b[:0]
		if err := both.Write(&out, &message); err != nil {
			b.Fatal(err)
		}
		r.Reset(out.b)
		if err := both.Read(r, &received); err != nil {
			b.Fatal(err)
		}
		sum += touch(received.Buf)
	}
	sink += sum
}
