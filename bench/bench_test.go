package bench

import (
	"bytes"
	"context"
	"crypto/cipher"
	"os"
	"testing"

	"github.com/gotd/td/bin"
	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/obfuscation"
)

func TestMain(m *testing.M) {
	RunChild()
	os.Exit(m.Run())
}

// BenchmarkTime runs both sides of every comparison, one after the other.
func BenchmarkTime(b *testing.B) {
	seen := map[string]bool{}
	run := func(name string, side func(b *testing.B)) {
		if !seen[name] {
			seen[name] = true
			b.Run(name, side)
		}
	}
	for _, c := range Cases() {
		run(c.Group+"/"+c.Name+"/"+Mtwire, c.Ours)
		run(c.Group+"/"+c.Name+"/"+c.Versus, c.Other)
	}
}

// BenchmarkIdle reports the bytes that an idle connection uses. One operation is a
// server with 1000 idle connections.
func BenchmarkIdle(b *testing.B) {
	for _, name := range IdleNames() {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				idle, err := MeasureIdle(b.Context(), name, 1000)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(idle.Heap, "heap-B/conn")
				b.ReportMetric(idle.Stack, "stack-B/conn")
				if idle.Resident > 0 {
					b.ReportMetric(idle.Resident, "resident-B/conn")
					b.ReportMetric(idle.Left, "left-B")
				}
			}
		})
	}
}

// Both sides decode gotd's stream to the same payloads, and gotd decodes mtwire's
// frames.
func TestBothSidesDecodeTheSamePayloads(t *testing.T) {
	for _, f := range framings {
		for _, size := range sizes {
			c := newCodecBench(f, size.bytes)
			ours := frame.Decoder{Protocol: f.protocol, From: frame.Server}
			theirs, rest := f.gotd.Codec(), bytes.NewReader(c.wire)
			wire := c.wire
			var buf bin.Buffer
			for i := range c.frames {
				want := message(size.bytes, uint64(i))
				p, n, err := ours.Parse(wire)
				if err != nil || !bytes.Equal(p.Payload, want) {
					t.Fatalf("%v, frame %d: mtwire read another payload: %v", f.protocol, i, err)
				}
				wire = wire[n:]
				if err := theirs.Read(rest, &buf); err != nil || !bytes.Equal(buf.Buf, want) {
					t.Fatalf("%v, frame %d: gotd read another payload: %v", f.protocol, i, err)
				}
			}
			if len(wire) != 0 || rest.Len() != 0 {
				t.Errorf("%v: %d and %d bytes left", f.protocol, len(wire), rest.Len())
			}
			encoder := frame.Encoder{Protocol: f.protocol, From: frame.Server}
			made, err := encoder.Append(nil, frame.Packet{Payload: c.payload})
			if err != nil {
				t.Fatal(err)
			}
			if err := f.gotd.Codec().Read(bytes.NewReader(made), &buf); err != nil || !bytes.Equal(buf.Buf, c.payload) {
				t.Errorf("%v: gotd reads another payload from mtwire's frame: %v", f.protocol, err)
			}
		}
	}
}

// The payloads of the obfuscated cases are the decrypted bytes of the feed, frame
// after frame.
func TestFeedDecryptsToItsFrames(t *testing.T) {
	conn, client := memoryClient(t, t.Context())
	conn.feed = newFrameFeed(t, conn.first)
	same := newFrameFeed(t, conn.first)
	init, err := obfuscation.Match((*[obfuscation.InitLength]byte)(conn.first), nil)
	if err != nil {
		t.Fatal(err)
	}
	stream := cipher.NewCTR(same.block, init.Download[32:])
	want := make([]byte, obfuscatedFrame)
	for i := range 5 {
		if _, err := same.Read(want); err != nil {
			t.Fatal(err)
		}
		stream.XORKeyStream(want, want)
		p, err := client.Receive(t.Context())
		if err != nil || p.Kind != mtwire.KindPayload || !bytes.Equal(p.Payload, want[4:]) {
			t.Fatalf("frame %d differs: %v", i, err)
		}
	}
}

// Every kind of idle connection can be measured; a few connections suffice for that.
func TestIdleIsMeasured(t *testing.T) {
	for _, name := range IdleNames() {
		idle, err := MeasureIdle(context.Background(), name, 50)
		if err != nil {
			t.Fatal(err)
		}
		if idle.Connections != 50 || idle.Heap <= 0 {
			t.Errorf("%s: %+v", name, idle)
		}
	}
}
