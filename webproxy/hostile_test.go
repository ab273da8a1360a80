//go:build !js

package webproxy

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// heap returns the bytes of the heap that are used.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A short body of unknown length does not keep the array that it was read into: what
// waits costs what it is charged.
func TestShortBodiesKeepNoLongArrays(t *testing.T) {
	h := newHandler(t, HTTPS, nil)
	token := h.session()
	h.want(h.up(token, 1, batch(open(1))), 204, "OPEN")
	before := heap()
	for sequence := 2; sequence < 100; sequence++ {
		r := httptest.NewRequest("POST", "/"+pathUp, io.MultiReader(bytes.NewReader(batch(data(1, "12345678")))))
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set(headerUp, strconv.Itoa(sequence))
		r.Header.Set("Content-Type", bodyType)
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); r.ContentLength >= 0 || w.Code != http.StatusNoContent {
			t.Fatal(r.ContentLength, w.Code)
		}
	}
	if used := heap() - before; used > 4<<20 {
		t.Errorf("98 frames of 8 bytes, charged with %d bytes, take %d", h.Stats().Up, used)
	}
	runtime.KeepAlive(h)
}

// Frames of a byte each that wait to be read take about what their bytes do: the window of a
// stream is 4 MiB of bytes, and would be of frames. A batch that was read leaves nothing.
func TestShortFramesThatWaitToBeReadAreJoined(t *testing.T) {
	for _, side := range []Side{App, Relay} {
		const batches = 64
		m := newMux(side, HTTPS)
		m.state.greeted = true
		m.accept = func(*Conn) bool { return true }
		if side == App {
			_, stream, _ := m.state.AppendOpen(nil, 1)
			m.track(newConn(m, stream))
		} else if err := m.receive(SharedLane, batch(open(1)), true); err != nil {
			t.Fatal(err)
		}
		conn, want := m.conns[1], make([]byte, 0, batches*MaxBatchFrames)
		before := heap()
		for i := range batches {
			var b []byte
			for j := range MaxBatchFrames {
				b = data(1, string([]byte{byte(i + j)})).Append(b)
				want = append(want, byte(i+j))
			}
			if err := m.receive(SharedLane, b, true); err != nil {
				t.Fatal(err)
			}
		}
		if used := heap() - before; used > 3*batches*MaxBatchFrames || m.incoming > 2*batches*MaxBatchFrames {
			t.Errorf("%d frames of a byte take %d, and are charged with %d", batches*MaxBatchFrames, used, m.incoming)
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, want) || m.incoming != 0 {
			t.Errorf("other bytes, or %d that are charged: %v", m.incoming, err)
		}
		conn.Close()
	}
}

// Frames of a few bytes that wait to be sent do not take a long chunk for each 512.
func TestShortFramesTakeNoLongChunks(t *testing.T) {
	for _, shared := range []bool{true, false} {
		o := outbox{shared: shared, fill: true}
		length, memory := 0, 0
		for id := range uint32(100 * maxChunkFrames) {
			length += o.control(closing(id + 1))
		}
		for _, c := range o.chunks {
			memory += cap(c.b)
		}
		if memory > 2*length+longChunk {
			t.Errorf("%d bytes of frames take %d", length, memory)
		}
	}
}

// Streams that were closed while they waited for room to write do not stay.
func TestClosedStreamsDoNotWaitToWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, HTTPS, func(c *ServerConfig) { c.Limits.Memory = 4 * chunkPayload })
		defer h.Close()
		token := h.session()
		sequence := 0
		for id := uint32(1); id <= 20; id++ {
			sequence++
			h.want(h.up(token, sequence, batch(open(id))), 204, "OPEN")
			conn, _ := h.Accept()
			conn.SetWriteDeadline(time.Now().Add(time.Millisecond))
			conn.Write(make([]byte, 1<<20))
			if id%2 == 0 {
				sequence++
				h.want(h.up(token, sequence, batch(closing(id))), 204, "CLOSE")
			}
			conn.Close()
		}
		parsed, _ := parseToken(token)
		m := h.find(parsed).mux
		if n := len(m.waiting); n != 0 {
			t.Errorf("%d streams that are closed wait", n)
		}
	})
}

// resetWriter is a ResponseWriter of a stream that is reset: it fails, and still has
// what it was given.
type resetWriter struct {
	http.ResponseWriter
	kept []byte
}

func (w *resetWriter) Write(p []byte) (int, error) {
	w.kept = p
	return 0, io.ErrClosedPipe
}

// The memory of an answer that failed is not used for others: package http may still
// be sending it, to a client of another user.
func TestTheMemoryOfAFailedAnswerIsNotUsedAgain(t *testing.T) {
	h := newHandler(t, HTTPS, nil)
	token := h.session()
	h.up(token, 1, batch(open(1)))
	conn, _ := h.Accept()
	conn.Write(bytes.Repeat([]byte("a"), 200_000))
	r := httptest.NewRequest("POST", "/"+pathDown, nil)
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set(headerCursor, "0")
	w := &resetWriter{ResponseWriter: httptest.NewRecorder()}
	h.ServeHTTP(w, r)
	conn.Write(bytes.Repeat([]byte("b"), 200_000))
	body(t, h.down(token, 1)) // acknowledges what failed
	conn.Write(bytes.Repeat([]byte("c"), 200_000))
	if cap(w.kept) != longChunk || !bytes.HasPrefix(w.kept[HeaderLength:], []byte("aaaa")) {
		t.Errorf("other bytes in the %d that failed: %.10q", cap(w.kept), w.kept)
	}
}

type roundTripper func(*http.Request) *http.Response

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return f(r), nil
}

// A server that answers long polls at once, without data, is not asked without a pause.
func TestEmptyAnswersDoNotMakeAClientBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Client{mux: newMux(App, HTTPS), header: http.Header{}, closeTimeout: time.Second, sockets: new(http.Client)}
		c.ctx, c.cancel = context.WithCancel(t.Context())
		polls, asked := 0, make(chan struct{})
		c.http = &http.Client{Transport: roundTripper(func(r *http.Request) *http.Response {
			w := httptest.NewRecorder()
			w.Header().Set(headerCursor, "0")
			w.WriteHeader(http.StatusNoContent)
			if r.Method == http.MethodPost {
				if polls++; polls == 100 {
					close(asked)
				}
			}
			return w.Result()
		})}
		start := time.Now()
		c.poll(c.lanes[SharedLane])
		<-asked
		if d := time.Since(start); d != 99*firstPause {
			t.Errorf("100 polls in %v", d)
		}
		c.Close()
	})
}
