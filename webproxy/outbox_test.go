//go:build !js

package webproxy

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// Whatever is queued, in pieces of whatever length, comes out in order, in batches
// within the limits, and bytes of a stream share frames.
func TestAnOutboxKeepsOrderAndLimits(t *testing.T) {
	for _, shared := range []bool{true, false} {
		for seed := range uint64(9) {
			r := rand.New(rand.NewPCG(seed, 2))
			s := newSession(t, App)
			streams := make([]*Stream, 3)
			for i := range streams {
				_, streams[i], _ = s.AppendOpen(nil, 0)
				streams[i].credit = 1 << 30
			}
			o := outbox{shared: shared, fill: seed%2 == 0}
			want, got := map[uint32][]byte{}, map[uint32][]byte{}
			queued, taken, frames := 0, 0, 0
			longest := []int{10, 3000, 100_000}[seed%3]
			drain := func() {
				parts := o.take(MaxBatchLength)
				b := bytes.Join(parts, nil)
				if err := CheckBatch(b); err != nil {
					t.Fatal(err)
				}
				for _, part := range parts {
					if len(part) > longChunk || cap(part) > 2*longChunk {
						t.Fatalf("a chunk of %d bytes", len(part))
					}
				}
				for f := range Frames(b) {
					if frames++; f.Type == DataFrame {
						got[f.Stream] = append(got[f.Stream], f.Payload...)
					}
				}
				taken += len(b)
				recycle(parts...)
			}
			for range 700 {
				switch stream := streams[r.IntN(1+r.IntN(3))]; r.IntN(8) {
				case 0:
					queued += o.control(Frame{WindowFrame, stream.id, []byte{0, 0, 0, 1}})
				case 1:
					if r.IntN(20) == 0 && !o.empty() {
						drain()
					}
				default:
					p := bytes.Repeat([]byte{byte(r.Uint32())}, 1+r.IntN(longest))
					n, added := o.data(stream, p, len(p))
					want[stream.id] = append(want[stream.id], p[:n]...)
					queued += added
				}
			}
			for !o.empty() {
				drain()
			}
			if queued != taken {
				t.Errorf("%d bytes queued, %d taken", queued, taken)
			}
			for id := range want {
				if !bytes.Equal(want[id], got[id]) {
					t.Errorf("stream %d: other bytes", id)
				}
			}
			if longest == 10 && frames > 650 {
				t.Errorf("%d frames: none are merged", frames)
			}
		}
	}
}
