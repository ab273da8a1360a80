package webproxy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// serveSocket answers the upgrade to a session's or a stream's WebSocket.
func (s *Server) serveSocket(w http.ResponseWriter, r *http.Request) bool {
	offered := r.Header["Sec-Websocket-Protocol"]
	if len(offered) != 1 || r.Header["Authorization"] != nil || !isUpgrade(r) {
		return false
	}
	session, id, ok := s.findSocket(offered[0])
	if !ok {
		return false
	}
	s.known(r)
	done := session.begin()
	l := session.attach(id)
	if l == nil {
		done()
		return false
	}
	ws, err := websocket.Accept(hijacker{w}, r, &websocket.AcceptOptions{
		Subprotocols:       []string{offered[0]},
		InsecureSkipVerify: true, // native web views may send any origin
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil {
		session.detach(l, err)
		done()
		return true
	}
	// Package http keeps the request, its buffers and a large stack until its handler returns.
	go func() {
		defer done()
		session.serveSocket(&socket{mux: session.mux, lane: l, ws: ws, room: session.waitForRoom})
	}()
	return true
}

// serveSocket moves batches until a socket ends.
func (s *session) serveSocket(socket *socket) {
	if socket.lane.id != SharedLane {
		if err := socket.first(); err != nil {
			socket.ws.Close(websocket.StatusPolicyViolation, "")
			s.detach(socket.lane, err)
			return
		}
	}
	s.detach(socket.lane, socket.run(context.Background()))
}

// hijacker is a ResponseWriter whose Hijack returns short buffers. Package websocket
// keeps them as long as the socket, and what is longer does not go through them.
type hijacker struct{ http.ResponseWriter }

func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	const size = 256
	conn, buffered, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	// What the client has sent already, and then the connection.
	early, _ := buffered.Reader.Peek(buffered.Reader.Buffered())
	r := bufio.NewReaderSize(io.MultiReader(bytes.NewReader(bytes.Clone(early)), conn), max(size, len(early)))
	r.Peek(len(early)) // package websocket looks at what is buffered only
	return conn, bufio.NewReadWriter(r, bufio.NewWriterSize(conn, size)), nil
}

// isUpgrade reports whether r asks for a WebSocket in a way that is accepted.
func isUpgrade(r *http.Request) bool {
	has := func(name, want string) bool {
		for value := range strings.SplitSeq(strings.Join(r.Header[name], ","), ",") {
			if strings.EqualFold(strings.TrimSpace(value), want) {
				return true
			}
		}
		return false
	}
	return r.ProtoMajor == 1 && r.ProtoAtLeast(1, 1) && has("Connection", "upgrade") && has("Upgrade", "websocket") &&
		r.Header.Get("Sec-Websocket-Version") == "13" && len(r.Header["Sec-Websocket-Key"]) == 1 && isSocketKey(r.Header["Sec-Websocket-Key"][0])
}

// isSocketKey reports whether text is 16 bytes in base64, which Accept demands.
func isSocketKey(text string) bool {
	b, err := base64.StdEncoding.DecodeString(text)
	return err == nil && len(b) == 16
}

// findSocket returns the session and the lane that a sub-protocol names.
func (s *Server) findSocket(name string) (session *session, id int, ok bool) {
	text, shared := strings.CutPrefix(name, subprotocol)
	id = SharedLane
	if !shared {
		var number string
		if text, ok = strings.CutPrefix(name, laneSubprotocol); !ok {
			return nil, 0, false
		}
		text, number, _ = strings.Cut(text, ".")
		n, err := strconv.ParseUint(number, 10, 32)
		if err != nil || n < 1 || n > MaxStream || strconv.FormatUint(n, 10) != number {
			return nil, 0, false
		}
		id = int(n)
	}
	t, ok := parseToken(text)
	if session = s.find(t); !ok || session == nil {
		return nil, 0, false
	}
	return session, id, session.carrier == WebSocket && shared || session.carrier == WebSocketLanes && !shared
}

// attach returns the lane for a socket, or nil if it has one already.
func (s *session) attach(id int) *lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[id]
	switch {
	case s.err != nil:
		return nil
	case id != SharedLane && (l != nil || s.state.Closed(uint32(id)) || len(s.lanes) > s.server.limits.SessionStreams+16):
		return nil
	case id != SharedLane:
		l = s.addLane(id)
	case l.attached:
		return nil
	}
	l.attached = true
	return l
}

// detach ends what a socket that is lost carried: the session, or its stream.
func (s *session) detach(l *lane, err error) {
	if l.id == SharedLane {
		if websocket.CloseStatus(err) >= 0 {
			err = nil
		}
		s.end(err)
		return
	}
	s.lose(uint32(l.id), errStreamLost(err))
}

// waitForRoom takes memory for a message, and waits up to 30 seconds for that.
func (s *session) waitForRoom(n int) bool {
	limit := time.Now().Add(ioTime)
	for !s.reserve(n) {
		if time.Now().After(limit) || s.failure() != nil {
			return false
		}
		time.Sleep(10 * time.Millisecond)
	}
	return true
}
