//go:build !js

package webproxy

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Each lane has its own sequence and cursor. When its stream is closed and all is
// acknowledged, the answer says so, again if it is asked for again.
func TestALaneEndsWhenItsLastBatchIsAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, HTTPSLanes, nil)
		defer h.Close()
		token := h.session()
		for _, lane := range []string{"9", "8"} {
			h.want(h.up(token, 1, batch(open(uint32(lane[0]-'0')), data(uint32(lane[0]-'0'), "abc")), headerLane, lane), 204, "first upload")
		}
		conn, _ := h.Accept()
		conn.Write([]byte("last words"))
		conn.Close()
		last := batch(data(9, "last words"), closing(9))
		for range 2 {
			if w := h.down(token, 0, headerLane, "9"); !bytes.Equal(body(t, w), last) || w.Header.Get(headerClosed) != "" {
				t.Errorf("%v", w.Header)
			}
		}
		for range 2 {
			w := h.down(token, 1, headerLane, "9")
			h.want(w, 204, "the end")
			if w.Header.Get(headerClosed) != "1" {
				t.Error(w.Header)
			}
		}
		h.want(h.up(token, 2, batch(data(9, "late"), window(9, 1), closing(9)), headerLane, "9"), 204, "late frames")
		h.want(h.up(token, 2, batch(data(8, "d")), headerLane, "8"), 204, "the other lane")
		h.want(h.up(token, 1, batch(data(7, "forgotten?"), closing(7)), headerLane, "7"), 204, "a lane that may be forgotten")
		if w := h.down(token, 0, headerLane, "0"); w.StatusCode != 204 || w.Header.Get(headerClosed) != "" {
			t.Error("lane 0", w.Status, w.Header)
		}
		h.want(h.up(token, 1, batch(Frame{PongFrame, 0, []byte("x")}), headerLane, "0"), 204, "PONG")
		h.want(h.up(token, 2, batch(data(8, "a"), data(9, "b")), headerLane, "8"), 404, "other bytes")
		h.want(h.down(token, 0, headerLane, "0"), 404, "after the session's end")
	})
}

// A frame of another lane ends the session, and so does a lane that begins with
// another sequence than 1.
func TestAFrameInAnotherLaneEndsTheSession(t *testing.T) {
	h := newHandler(t, HTTPSLanes, nil)
	for _, upload := range []struct {
		sequence int
		batch    []byte
		lane     string
	}{{1, batch(open(1), open(2)), "1"}, {1, batch(open(1)), "2"}, {2, batch(open(1)), "1"}, {1, batch(open(1)), "0"}} {
		token := h.session()
		h.want(h.up(token, upload.sequence, upload.batch, headerLane, upload.lane), 404, "upload")
		h.want(h.up(token, 1, batch(open(9)), headerLane, "9"), 404, "after it")
	}
}

// A poll that comes before its lane's first upload waits for that.
func TestAPollWaitsForItsLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, HTTPSLanes, nil)
		defer h.Close()
		token := h.session()
		poll := make(chan *http.Response)
		go func() { poll <- h.down(token, 0, headerLane, "5") }()
		synctest.Wait()
		h.want(h.up(token, 1, batch(open(5)), headerLane, "5"), 204, "upload")
		conn, _ := h.Accept()
		conn.Write([]byte("x"))
		if w := <-poll; !bytes.Equal(body(t, w), batch(data(5, "x"))) {
			t.Error(w.Status)
		}
		start := time.Now()
		w := h.down(token, 0, headerLane, "6")
		h.want(w, 204, "a lane that does not open")
		if time.Since(start) != pollTime || w.Header.Get(headerCursor) != "0" {
			t.Errorf("%v after %v", w.Header, time.Since(start))
		}
		h.want(h.down(token, 1, headerLane, "6"), 404, "a cursor of a lane that is not open")
	})
}

// A client that opens streams that are refused, and does not take their ends, ends
// its session: nothing grows without a limit.
func TestRefusedLanesAreLimited(t *testing.T) {
	h := newHandler(t, HTTPSLanes, func(c *ServerConfig) { c.Limits.SessionStreams = 4 })
	token := h.session()
	id, status := uint32(1), 204
	for ; status == 204 && id < 1000; id++ {
		lane := string(appendDecimal(id))
		status = h.up(token, 1, batch(open(id)), headerLane, lane).StatusCode
	}
	if id > 40 || status != 404 {
		t.Errorf("%d lanes", id)
	}
}

func appendDecimal(n uint32) []byte {
	if n < 10 {
		return []byte{byte('0' + n)}
	}
	return append(appendDecimal(n/10), byte('0'+n%10))
}

// CLOSE for refused streams cannot pile up in the shared lane, either.
func TestRefusedStreamsAreLimited(t *testing.T) {
	h := newHandler(t, HTTPS, func(c *ServerConfig) { c.Limits.StreamsPerMinute = 1 })
	token := h.session()
	status, id := 204, uint32(1)
	for sequence := 1; status == 204 && sequence < 1000; sequence++ {
		var b []byte
		for range MaxBatchFrames {
			b = open(id).Append(b)
			id++
		}
		status = h.up(token, sequence, b).StatusCode
	}
	if status != 404 || h.Stats().Down != 0 {
		t.Errorf("status %d after %d streams, %+v", status, id, h.Stats())
	}
}

// The log has one warning about lanes in HTTP/1.1, and none if a web server is in front,
// which has the client's connection.
func TestLanesOverHTTP1AreLogged(t *testing.T) {
	for site, warnings := range map[string]int{"https://" + testHost: 1, "": 0} {
		var log strings.Builder
		h := newHandler(t, HTTPSLanes, func(c *ServerConfig) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		token := h.session()
		for id := range uint32(3) {
			lane := string(appendDecimal(id + 1))
			h.want(h.do("POST", site+"/"+pathUp, batch(open(id+1)), "Authorization", "Bearer "+token, headerUp, "1", headerLane, lane), 204, "upload")
		}
		h.up(token, 1, []byte("bad"), headerLane, "1")
		if text := log.String(); strings.Count(text, "https-lanes over HTTP/1.1") != warnings || strings.Contains(text, token) || !strings.Contains(text, "user=u") {
			t.Error(site, text)
		}
	}
}

// A lane's frames are read by one session only while it lives: the relay's end of a
// stream fails when the session ends in mid-batch.
func TestALaneOfAnEndedSessionFails(t *testing.T) {
	h := newHandler(t, HTTPSLanes, nil)
	token := h.session()
	h.up(token, 1, batch(open(5), data(5, "abc")), headerLane, "5")
	conn, _ := h.Accept()
	h.up(token, 2, []byte{1}, headerLane, "5")
	if b, err := io.ReadAll(conn); string(b) != "abc" || err == nil {
		t.Errorf("%q, %v", b, err)
	}
}

// A client has a limited number of requests that wait for lanes, or for the rest of a body.
// Those beyond it may be sent again.
func TestTheRequestsOfASessionAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, HTTPSLanes, func(c *ServerConfig) { c.Limits.SessionStreams = 2 })
		defer h.Close()
		token := h.session()
		const polls = 200
		var waiting, busy atomic.Int32
		for lane := range polls {
			waiting.Add(1)
			go func() {
				defer waiting.Add(-1)
				w := h.down(token, 0, headerLane, strconv.Itoa(lane+1))
				if w.StatusCode == http.StatusServiceUnavailable && w.Header.Get("Retry-After") != "" {
					busy.Add(1)
				}
			}()
		}
		synctest.Wait()
		if n := waiting.Load(); n != 8*2+64 || busy.Load() != polls-n {
			t.Errorf("%d polls wait, and %d are told to come again", n, busy.Load())
		}
		h.want(h.up(token, 1, batch(open(1)), headerLane, "1"), 503, "an upload")
		time.Sleep(pollTime)
		synctest.Wait()
		h.want(h.up(token, 1, batch(open(1)), headerLane, "1"), 204, "an upload later")
	})
}
