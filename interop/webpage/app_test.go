package webpage

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/mtwire/mtwire/webproxy"
)

var (
	//go:embed native/common.js
	commonScript string
	//go:embed native/desktop.js
	desktopScript string
	//go:embed native/android.js
	androidScript string
	//go:embed native/ios.js
	iosScript string
	//go:embed native/parent.html
	parentPage string
)

// way is how an app runs the page and passes frames to it.
type way struct {
	name    string
	bridge  string
	acks    bool // each message is acknowledged before the next
	strings bool // an Android web view without ArrayBuffer
	pack    int  // bytes of frames in a message; 0: one frame
	port    bool // a page on loopback is the parent
}

var ways = []way{
	{name: "Desktop", bridge: desktopScript, acks: true},
	{name: "Android", bridge: androidScript},
	{name: "Android with strings", bridge: androidScript, strings: true},
	{name: "iOS", bridge: iosScript, pack: webproxy.MaxBatchLength},
	{name: "Desktop in a browser", pack: webproxy.MaxBatchLength, port: true},
}

// source returns the script that an app puts before those of the page.
func (w way) source() string {
	if w.bridge == "" {
		return commonScript
	}
	return "{" + commonScript + "\nif (location.protocol === 'https:' && window === top) {" + w.bridge + "}}"
}

const nonce = "abcdefghijklmnopqrstuvwxyz-0123456789_ABCDE"

// app is the native half of an app: it makes the frames.
type app struct {
	*tab
	way
	session  *webproxy.Session
	sequence int // Desktop: of messages to the page
	acked    int
	states   []string
	messages int // with frames
	up, down int // bytes that the page has reported
	closed   bool
	ready    bool
	streams  map[uint32]*stream
	queue    [][]byte // frames for the page
}

// stream is what a stream has sent and received. All of data is echoed.
type stream struct {
	*webproxy.Stream
	data     []byte
	sent     int
	received int
	closed   bool // by the relay
}

// load opens the page of a relay as an app does, until the session is ready.
func (w way) load(t *testing.T, b *browser, r *relay) *app {
	t.Helper()
	a := &app{tab: b.newTab(t, w.source()), way: w}
	a.reload(r)
	return a
}

// reload loads the page, for the first time or again.
func (a *app) reload(r *relay) {
	a.t.Helper()
	a.session, a.streams, a.queue = webproxy.NewSession(webproxy.App), make(map[uint32]*stream), nil
	a.ready, a.closed, a.states, a.messages = false, false, nil, 0
	for len(a.native) > 0 {
		<-a.native
	}
	if a.port {
		a.open("about:blank")
		a.open(parentURL(a.t) + "#" + r.page())
	} else {
		a.open(r.page() + "#android=" + nonce)
	}
	a.until("WELCOME", func() bool { return a.ready })
}

// until handles what the page sends until a condition holds.
func (a *app) until(what string, condition func() bool) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), timeout)
	defer cancel()
	for !condition() {
		select {
		case text := <-a.native:
			a.handle(text)
		case <-ctx.Done():
			a.t.Fatalf("waited for %s: states %v, closed: %v, console %v", what, a.states, a.closed, a.console())
		}
		a.flush()
	}
}

// handle takes a message of the page.
func (a *app) handle(text string) {
	a.t.Helper()
	switch text[0] {
	case 'a':
		n, err := strconv.Atoi(text[1:])
		if err != nil || n != a.sequence {
			a.t.Fatalf("acknowledgement %q of message %d", text, a.sequence)
		}
		a.acked = n
	case 'b':
		b, err := base64.StdEncoding.DecodeString(text[1:])
		if err != nil {
			a.t.Fatal(err)
		}
		a.receive(b)
	case 'c':
		a.control(text[1:])
	default:
		a.t.Fatalf("the page sends %q, states %v", text, a.states)
	}
}

func (a *app) control(text string) {
	a.t.Helper()
	var m struct {
		T, State, Nonce string
		V, Up, Down     int
	}
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		a.t.Fatal(text, err)
	}
	switch m.T {
	case "tproxy-android-init":
		if m.V != 1 || m.Nonce != nonce || a.messages > 0 || a.port {
			a.t.Errorf("init: %s", text)
		}
		if url := a.run("location.href"); !a.atBase(url) {
			a.t.Errorf("the page is at %s", url)
		}
		if a.strings {
			a.run("nativeUseStrings()")
		}
		a.write(webproxy.AppendHello(nil))
	case "status":
		a.states = append(a.states, m.State)
		if a.port && len(a.states) == 1 {
			a.write(webproxy.AppendHello(nil))
		}
	case "traffic":
		a.up, a.down = a.up+m.Up, a.down+m.Down
	case "close":
		a.closed = true
	default:
		a.t.Errorf("the page sends %s", text)
	}
}

// receive takes frames: one in a message, but through a port. The first is WELCOME.
func (a *app) receive(b []byte) {
	a.t.Helper()
	a.messages++
	f, rest, err := webproxy.ParseFrame(b)
	if err != nil || len(rest) > 0 && (!a.port || a.messages == 1) || a.messages == 1 != (f.Type == webproxy.WelcomeFrame) {
		a.t.Fatalf("message %d of %d bytes with %v: %v", a.messages, len(b), f.Type, err)
	}
	frames, err := a.session.Receive(nil, webproxy.SharedLane, b)
	if err != nil {
		a.t.Fatal(err)
	}
	a.ready = true
	for _, f := range frames {
		s := a.streams[f.Stream]
		switch f.Type {
		case webproxy.DataFrame:
			if end := s.received + len(f.Payload); end > s.sent || !bytes.Equal(f.Payload, s.data[s.received:end]) {
				a.t.Fatalf("stream %d: other bytes at %d of %d", f.Stream, s.received, s.sent)
			}
			s.received += len(f.Payload)
			if n := s.Ungranted(); n >= 256<<10 {
				a.queue = append(a.queue, s.AppendWindow(nil, n))
			}
		case webproxy.CloseFrame:
			s.closed = true
		}
	}
}

// openStream opens a stream, for size bytes.
func (a *app) openStream(id uint32, size int) *stream {
	a.t.Helper()
	frame, s, err := a.session.AppendOpen(nil, id)
	if err != nil {
		a.t.Fatal(err)
	}
	a.queue = append(a.queue, frame)
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(id)}).Read(data)
	a.streams[id] = &stream{Stream: s, data: data}
	a.flush()
	return a.streams[id]
}

// closeStream closes a stream.
func (a *app) closeStream(id uint32) {
	a.queue = append(a.queue, a.session.AppendClose(nil, id))
	a.flush()
}

// flush writes what may be written now.
func (a *app) flush() {
	for a.ready && (!a.acks || a.acked == a.sequence) {
		// What waits is a part of the windows: frames of all streams take turns.
		for id := uint32(7777); id > 0 && len(a.queue) < 8; id-- {
			s := a.streams[id]
			if s == nil {
				break
			}
			if s.closed || s.sent >= len(s.data) {
				continue
			}
			if frame, n := s.AppendData(nil, s.data[s.sent:], 64<<10); n > 0 {
				a.queue = append(a.queue, frame)
				s.sent += n
			}
		}
		if len(a.queue) == 0 {
			return
		}
		n, length := 0, 0
		for n < len(a.queue) && (n == 0 || length+len(a.queue[n]) <= a.pack) {
			length += len(a.queue[n])
			n++
		}
		a.write(bytes.Join(a.queue[:n], nil))
		a.queue = a.queue[n:]
	}
}

// write passes a message with frames to the page.
func (a *app) write(b []byte) {
	a.sequence++
	text := base64.StdEncoding.EncodeToString(b)
	if a.acks {
		a.evaluate(fmt.Sprintf("TelegramWebProxy.receive(%d, '%s')", a.sequence, text))
	} else {
		a.evaluate(fmt.Sprintf("nativeReceive('%s')", text))
	}
}

// leave ends the session as the app does.
func (a *app) leave() {
	const text = `{"t":"close"}`
	if a.acks {
		a.evaluate("TelegramWebProxy.receiveControl(0, '" + text + "')")
	} else {
		a.evaluate("nativeControl('" + text + "')")
	}
}

// evaluate runs a script and does not wait for it.
func (a *app) evaluate(script string) {
	a.send(a.tab.session, "Runtime.evaluate", object{"expression": script})
}

// moved reports whether all bytes of the streams have come back.
func (a *app) moved() bool {
	for _, s := range a.streams {
		if s.received < len(s.data) {
			return false
		}
	}
	return true
}

// exchange has bytes echoed in several streams, whose ids are descending.
func (a *app) exchange(sizes ...int) {
	a.t.Helper()
	start, first := time.Now(), 7777-len(a.streams)
	for i, size := range sizes {
		a.openStream(uint32(first-i), size)
	}
	a.until("the echo", a.moved)
	a.t.Logf("%d streams in %v", len(sizes), time.Since(start).Round(time.Millisecond))
}
