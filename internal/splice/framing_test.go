package splice

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"testing"
	"time"
)

// framings are the ways in which records are made: with readv(2), and in a buffer.
var framings = map[string]func([]byte) (int, error){"with readv": nil, "in a buffer": invert}

// startFramed copies from a source into records, and returns the peers of both
// ends.
func startFramed(t *testing.T, transform func([]byte) (int, error), framing *Framing, config *Config) (source, sink *net.TCPConn) {
	source, left := pair(t)
	right, sink := pair(t)
	ended := make(chan struct{})
	p := Start(Flow{Dst: right, Src: left, Transform: transform, Framing: framing}, Flow{Dst: left, Src: right}, config,
		func(up, down Result) {
			left.Close()
			right.Close()
			close(ended)
		})
	t.Cleanup(func() {
		p.Abort(context.Canceled)
		<-ended
	})
	return source, sink
}

// readLength reads a record and returns the length of its body.
func readLength(t *testing.T, conn net.Conn) int {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(patience))
	var h [5]byte
	if _, err := io.ReadFull(conn, h[:]); err != nil {
		t.Fatal(err)
	}
	n := int(binary.BigEndian.Uint16(h[3:]))
	if _, err := io.ReadFull(conn, make([]byte, n)); err != nil {
		t.Fatal(err)
	}
	return n
}

// Each chunk of bytes comes when the one before has arrived.
func TestRecordsHaveTheLengthsOfTheSites(t *testing.T) {
	for _, c := range []struct {
		chunks []int
		want   [][]int
	}{
		{[]int{700}, [][]int{{306, 290, 104}}},
		{[]int{596, 2000}, [][]int{{306, 290}, {1203, 797}}},
		{[]int{350, 2000, 9000}, [][]int{{306, 44}, {2000}, {3575, 5425}}},
		{[]int{100, 5000}, [][]int{{100}, {2389, 2611}}},
		{[]int{310}, [][]int{{293, 17}}},
		{[]int{306 + 290 + 1203 + 2389 + 3575, 8017 + 20}, [][]int{{306, 290, 1203, 2389, 3575}, {8017, 20}}},
		{[]int{100, 100, 100, 100, 8017 + 4, 16034, 8017 + 16}, [][]int{{100}, {100}, {100}, {100}, {8004, 17}, {8017, 8017}, {8016, 17}}},
	} {
		for name, transform := range framings {
			source, sink := startFramed(t, transform, shapedRecords, &Config{})
			for i, chunk := range c.chunks {
				source.Write(make([]byte, chunk))
				var got []int
				for left := chunk; left > 0; left -= got[len(got)-1] {
					got = append(got, readLength(t, sink))
				}
				if !slices.Equal(got, c.want[i]) {
					t.Errorf("%s, chunks %d: chunk %d in records of %d, want %d", name, c.chunks, i, got, c.want[i])
				}
			}
		}
	}
}

// A few bytes wait for those that follow. If none do, or the stream ends, they are
// sent alone.
func TestShortRecordsAreHeldBack(t *testing.T) {
	for name, transform := range framings {
		t.Run(name, func(t *testing.T) {
			poller := startPoller(t)
			for _, config := range []*Config{{}, {Poller: poller, Idle: 50 * time.Millisecond}} {
				held := *shapedRecords
				held.Leading, held.Ramp, held.Hold = nil, nil, time.Hour
				source, sink := startFramed(t, transform, &held, config)
				for range 3 {
					source.Write(make([]byte, 4))
					sink.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
					if n, err := sink.Read(make([]byte, 1)); err == nil {
						t.Fatalf("%d bytes came at once", n)
					}
					source.Write(make([]byte, 40))
					if n := readLength(t, sink); n != 44 {
						t.Errorf("a record of %d bytes, want 44", n)
					}
					time.Sleep(3 * config.Idle) // it may be parked
				}
				source.Write(make([]byte, 4))
				time.Sleep(10 * time.Millisecond)
				source.CloseWrite()
				if n := readLength(t, sink); n != 4 {
					t.Errorf("behind the end of the stream, a record of %d bytes", n)
				}
				if _, err := sink.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("after the last record: %v", err)
				}

				source, sink = startFramed(t, transform, shapedRecords, config)
				for range 2 {
					start := time.Now()
					source.Write(make([]byte, 16))
					if n := readLength(t, sink); n != 16 || time.Since(start) < shapedRecords.Hold {
						t.Errorf("a record of %d bytes after %v", n, time.Since(start))
					}
					time.Sleep(3 * config.Idle)
				}
			}
		})
	}
}
