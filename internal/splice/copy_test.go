package splice

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"testing"
	"time"
)

// All bytes arrive, in order, whether copied by the kernel or through a buffer. A
// half-close of one side leaves the other direction open.
func TestBothDirectionsArriveWhole(t *testing.T) {
	for name, wrap := range wrappers {
		t.Run(name, func(t *testing.T) {
			client, left := pair(t)
			right, server := pair(t)
			leftConn, rightConn := wrap(left), wrap(right)
			done := make(chan [2]Result, 1)
			go func() {
				up, down := Run(context.Background(), Flow{Dst: rightConn, Src: leftConn}, Flow{Dst: leftConn, Src: rightConn}, 0)
				left.Close()
				right.Close()
				done <- [2]Result{up, down}
			}()
			question, answer := make([]byte, 1<<20), make([]byte, 3<<20)
			rand.Read(question)
			rand.Read(answer)
			go func() {
				client.Write(question)
				client.CloseWrite()
			}()
			got, err := io.ReadAll(server)
			if err != nil || !bytes.Equal(got, question) {
				t.Fatalf("the server read %d bytes, %v", len(got), err)
			}
			go func() {
				server.Write(answer)
				server.Close()
			}()
			if got, err = io.ReadAll(client); err != nil || !bytes.Equal(got, answer) {
				t.Fatalf("the client read %d bytes, %v", len(got), err)
			}
			r := <-done
			if r != [2]Result{{1 << 20, nil}, {3 << 20, nil}} {
				t.Errorf("%+v", r)
			}
		})
	}
}

// All bytes arrive, in order, with every combination of functions, and when the
// direction is parked many times between them.
func TestEveryTreatmentMovesTheSameBytes(t *testing.T) {
	for name, wrap := range wrappers {
		for treatment, treat := range treatments {
			t.Run(name+", "+treatment, func(t *testing.T) {
				t.Parallel()
				poller := startPoller(t)
				client, left := pair(t)
				right, server := pair(t)
				moved := 0
				up := Flow{Dst: wrap(right), Src: wrap(left), Moved: func(n int) { moved += n }}
				treat(&up)
				transformed, framed := up.Transform != nil, up.Framing != nil
				ended := make(chan [2]Result, 1)
				Start(up, Flow{Dst: wrap(left), Src: wrap(right)}, &Config{Poller: poller, Idle: 2 * time.Millisecond},
					func(up, down Result) {
						left.Close()
						right.Close()
						ended <- [2]Result{up, down}
					})
				sent := make([]byte, 1<<20)
				rand.Read(sent)
				go func() {
					for rest := sent; len(rest) > 0; {
						n := min(len(rest), 1+int(rest[0])*len(rest)/(8*256))
						client.Write(rest[:n])
						rest = rest[n:]
						if rest != nil && n%3 == 0 {
							time.Sleep(5 * time.Millisecond) // long enough to be parked
						}
					}
					client.CloseWrite()
				}()
				read := io.ReadAll
				if framed {
					read = unframe
				}
				got, err := read(server)
				if transformed {
					invert(got)
				}
				if err != nil || !bytes.Equal(got, sent) {
					t.Fatalf("%d bytes of %d, %v", len(got), len(sent), err)
				}
				server.Write([]byte("answer"))
				server.Close()
				if got, err := io.ReadAll(client); err != nil || string(got) != "answer" {
					t.Errorf("%q, %v", got, err)
				}
				r := <-ended
				if r != [2]Result{{1 << 20, nil}, {6, nil}} || moved != 1<<20 {
					t.Errorf("%+v, %d moved", r, moved)
				}
			})
		}
	}
}

// If Transform fails, the bytes that it returned are delivered, and both directions
// end.
func TestFailedTransformDeliversWhatIsGood(t *testing.T) {
	client, left := pair(t)
	right, server := pair(t)
	bad := errors.New("bad record")
	ended := make(chan [2]Result, 1)
	Start(Flow{Dst: right, Src: left, Transform: func(b []byte) (int, error) { return bytes.IndexByte(b, '!'), bad }},
		Flow{Dst: left, Src: right}, &Config{}, func(up, down Result) {
			right.Close()
			ended <- [2]Result{up, down}
		})
	client.Write([]byte("good!bad"))
	if got, err := io.ReadAll(server); err != nil || string(got) != "good" {
		t.Errorf("%q, %v", got, err)
	}
	if r := <-ended; r != [2]Result{{4, bad}, {0, nil}} {
		t.Errorf("%+v", r)
	}
}

// First is written ahead of the bytes from the source: before there are any, and
// in frames if the flow has a Framing, but neither transformed nor inspected.
func TestFirstBytesAreWrittenFirst(t *testing.T) {
	for treatment, treat := range treatments {
		t.Run(treatment, func(t *testing.T) {
			client, left := pair(t)
			right, server := pair(t)
			moved := 0
			up := Flow{Dst: right, Src: left, First: []byte("first, "), Moved: func(n int) { moved += n }}
			treat(&up)
			ended := make(chan [2]Result, 1)
			Start(up, Flow{Dst: left, Src: right}, &Config{Poller: startPoller(t), Idle: time.Millisecond},
				func(up, down Result) {
					right.Close()
					ended <- [2]Result{up, down}
				})
			time.Sleep(5 * time.Millisecond)
			second := []byte("second")
			if up.Transform != nil {
				invert(second)
			}
			client.Write(second)
			client.CloseWrite()
			server.CloseWrite()
			read := io.ReadAll
			if up.Framing != nil {
				read = unframe
			}
			if got, err := read(server); err != nil || string(got) != "first, second" {
				t.Errorf("%q, %v", got, err)
			}
			if r := <-ended; r != [2]Result{{13, nil}, {}} || moved != 13 {
				t.Errorf("%+v, %d moved", r, moved)
			}
		})
	}
}

// A direction reads much at once only in bulk that its destination keeps up with: a
// peer that takes nothing has no large buffer waiting for it.
func TestBatchesGrowOnlyIfTheDestinationKeepsUp(t *testing.T) {
	d := &direction{}
	for i, c := range []struct {
		n      int
		waited bool
		want   int
	}{
		{1, false, batchBytes},
		{batchBytes, false, bulkBytes},
		{bulkBytes, false, bulkBytes},
		{bulkBytes, true, bulkBytes}, // once
		{bulkBytes, false, bulkBytes},
		{bulkBytes, true, bulkBytes},
		{bulkBytes, true, batchBytes},
		{batchBytes, true, batchBytes},
		{3 * batchBytes / 4, false, bulkBytes},
		{1000, false, batchBytes},
		{batchBytes, true, batchBytes},
	} {
		d.waited = c.waited
		if d.batched(c.n); d.batch() != c.want {
			t.Errorf("%d: after %d bytes, waited %t: %d", i, c.n, c.waited, d.batch())
		}
	}
}
