//go:build !js

package webproxy

import (
	"fmt"
	"net"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// twoUsers is a server with a greedy user and another one, whose links it returns.
func twoUsers(t *testing.T, change func(*Limits)) (greedy, other *handler) {
	t.Helper()
	secret := mustSecret(t, "0f0e0d0c0b0a09080706050403020100")
	greedy = newHandler(t, HTTPS, func(c *ServerConfig) {
		c.Users = append(c.Users, User{Name: "other", Secret: secret})
		change(&c.Limits)
	})
	other = &handler{Server: greedy.Server, t: t, link: greedy.link}
	other.link.Secret = secret
	return greedy, other
}

// A user that takes all that it gets has three quarters of a limit, and leaves another
// user the rest.
func TestAUserLeavesRoomForOthers(t *testing.T) {
	const limit = 16
	page := func(h *handler) bool {
		return h.do("GET", "/?bridge="+h.link.Capability().String(), nil).StatusCode == 200
	}
	session := func(h *handler) bool { return h.create(h.bootstrap()).StatusCode == 200 }
	for name, c := range map[string]struct {
		change func(*Limits)
		take   func(h *handler) bool
	}{
		"pages":            {func(l *Limits) { l.Bootstraps = limit }, page},
		"pages a minute":   {func(l *Limits) { l.PagesPerMinute = 5 * limit }, page},
		"sessions":         {func(l *Limits) { l.Sessions = limit }, session},
		"starts a minute":  {func(l *Limits) { l.SessionsPerMinute = 5 * limit }, session},
		"streams":          {func(l *Limits) { l.Streams = limit }, opener()},
		"streams a minute": {func(l *Limits) { l.StreamsPerMinute = 5 * limit }, opener()},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // in which no minute passes
				greedy, other := twoUsers(t, c.change)
				defer greedy.Close()
				n := 0
				for n < 2*limit && c.take(greedy) {
					n++
				}
				if n != limit*3/4 {
					t.Errorf("the greedy user gets %d of %d", n, limit)
				}
				if !c.take(other) {
					t.Error("the other user gets none")
				}
			})
		})
	}
}

// A user's streams count until they are closed, though their session is over and its page
// forgotten.
func TestStreamsOfEndedSessionsCountForTheirUser(t *testing.T) {
	const limit = 16
	greedy, other := twoUsers(t, func(l *Limits) { l.Streams = limit })
	defer greedy.Close()
	for take := opener(); take(greedy); {
	}
	greedy.mu.Lock()
	for _, s := range greedy.sessions {
		go s.end(nil)
	}
	for _, b := range greedy.queue {
		b.expires = time.Now()
	}
	greedy.mu.Unlock()
	for greedy.Stats().Sessions > 0 {
		runtime.Gosched()
	}
	if opener()(greedy) {
		t.Errorf("the greedy user has %d streams of %d", greedy.Stats().Streams, limit)
	}
	if !opener()(other) {
		t.Error("the other user gets none")
	}
	for greedy.Stats().Streams > 0 {
		conn, _ := greedy.Accept()
		conn.Close()
	}
	if !opener()(greedy) {
		t.Error("closed streams count")
	}
}

// opener returns a function that opens one more stream of a user.
func opener() func(h *handler) bool {
	tokens, last := map[*handler]string{}, map[*handler]int{}
	return func(h *handler) bool {
		if tokens[h] == "" {
			tokens[h] = h.session()
		}
		last[h]++
		before := h.Stats().Streams
		h.up(tokens[h], last[h], batch(open(uint32(last[h]))))
		return h.Stats().Streams > before
	}
}

// A user whose streams are not read, or whose clients take nothing, does not use up the
// memory of both directions.
func TestAUsersStreamsLeaveMemoryForOthers(t *testing.T) {
	greedy, other := twoUsers(t, func(l *Limits) { l.Memory = 32 << 20 })
	defer greedy.Close()
	mega := make([]byte, MaxPayload)
	var conns []net.Conn
	upload := func(h *handler, token string) (n int) {
		for sequence := 1; sequence < 40; n++ {
			frames := batch(Frame{DataFrame, uint32(1 + n/4), mega})
			if n%4 == 0 {
				frames = append(batch(open(uint32(1+n/4))), frames...)
			}
			if h.up(token, sequence, frames).StatusCode != 204 {
				break
			}
			sequence++
		}
		return n
	}
	total := 0
	for range 4 {
		total += upload(greedy, greedy.session())
	}
	if total < 12 || total > 18 {
		t.Errorf("the greedy user has %d of 24 MiB up", total)
	}
	token := other.session()
	if other.up(token, 1, batch(open(1), Frame{DataFrame, 1, mega})).StatusCode != 204 {
		t.Error("the other user's upload is refused")
	}
	for {
		greedy.mu.Lock()
		waiting := len(greedy.backlog)
		greedy.mu.Unlock()
		if waiting == 0 {
			break
		}
		conn, _ := greedy.Accept()
		conns = append(conns, conn)
	}
	for _, conn := range conns {
		if conn.(*Conn).User() == "u" {
			fillNow(conn)
		}
	}
	if down := greedy.Stats().Down; down > 8<<20*3/4+1<<20 {
		t.Errorf("the greedy user has %d bytes down", down)
	}
	for _, conn := range conns {
		if conn.(*Conn).User() == "other" && fillNow(conn) < 1<<20 {
			t.Error("the other user's stream has no room")
		}
		conn.Close()
	}
	if stats := fmt.Sprint(greedy.Stats().Up, greedy.Stats().Streams); stats != "0 0" {
		t.Errorf("left: %s", stats)
	}
}

// fillNow queues what has room now, and returns the number of bytes.
func fillNow(conn net.Conn) (n int) {
	c := conn.(*Conn)
	c.mux.mu.Lock()
	defer c.mux.mu.Unlock()
	b := make([]byte, chunkPayload)
	for {
		m := c.mux.write(c, b)
		if n += m; m == 0 {
			return n
		}
	}
}
