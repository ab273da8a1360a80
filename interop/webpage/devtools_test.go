package webpage

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// browser is a Chromium without a screen. Commands and events of the DevTools protocol
// are JSON messages with a zero byte behind each.
type browser struct {
	write *os.File
	ended chan struct{}
	close func()

	mu      sync.Mutex
	number  int
	waiting map[int]chan<- message
	events  map[string]func(message) // by DevTools session
}

type message struct {
	ID        int             `json:"id,omitempty"`
	Method    string          `json:"method,omitempty"`
	Params    json.RawMessage `json:"params,omitempty"`
	SessionID string          `json:"sessionId,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Error     *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// startBrowser starts Chromium with flags. The caller calls close.
func startBrowser(t *testing.T, flags ...string) *browser {
	t.Helper()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("NOT RUN: there is no Chromium; interop/browser/install gets it")
	}
	commands, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	answers, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	profile, err := os.MkdirTemp("", "webpage")
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{write: write, ended: make(chan struct{}), waiting: make(map[int]chan<- message), events: make(map[string]func(message))}
	cmd := exec.Command(chromium, append([]string{"--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-quic", "--disable-sync", "--disable-background-networking", "--disable-component-update", "--disable-breakpad",
		"--remote-debugging-pipe", "--ignore-certificate-errors", "--user-data-dir=" + profile}, flags...)...)
	cmd.ExtraFiles = []*os.File{commands, out} // descriptors 3 and 4
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	commands.Close()
	out.Close()
	go b.read(answers)
	b.close = func() {
		write.Close() // Chromium and all of its processes exit
		timer := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
		cmd.Wait()
		timer.Stop()
		<-b.ended
		os.RemoveAll(profile)
	}
	return b
}

// read dispatches answers and events until Chromium ends.
func (b *browser) read(answers *os.File) {
	defer close(b.ended)
	defer answers.Close()
	r := bufio.NewReaderSize(answers, 1<<20)
	for {
		text, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		var m message
		if json.Unmarshal(text[:len(text)-1], &m) != nil {
			return
		}
		b.mu.Lock()
		answer, event := b.waiting[m.ID], b.events[m.SessionID]
		delete(b.waiting, m.ID)
		b.mu.Unlock()
		switch {
		case answer != nil:
			answer <- m
		case m.ID == 0 && event != nil:
			event(m)
		}
	}
}

// send sends a command, whose answer comes later.
func (b *browser) send(session, method string, params any) <-chan message {
	text, _ := json.Marshal(params)
	answer := make(chan message, 1)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.number++
	b.waiting[b.number] = answer
	m, _ := json.Marshal(message{ID: b.number, Method: method, Params: text, SessionID: session})
	b.write.Write(append(m, 0))
	return answer
}

// call sends a command and decodes its result.
func (b *browser) call(session, method string, params, result any) error {
	select {
	case m := <-b.send(session, method, params):
		if m.Error != nil {
			return fmt.Errorf("%s: %s", method, m.Error.Message)
		}
		if result != nil {
			return json.Unmarshal(m.Result, result)
		}
		return nil
	case <-b.ended:
		return errors.New("Chromium has ended")
	}
}

type object map[string]any

// tab is a page in the browser.
type tab struct {
	*browser
	t       *testing.T
	session string
	native  chan string // what the page sends to the app

	mu     sync.Mutex
	errors []string // of scripts, the console and policies
}

// newTab opens an empty page. Its scripts send strings to the channel native by calling
// nativeSend. source is a script that runs before those of a document.
func (b *browser) newTab(t *testing.T, source string) *tab {
	t.Helper()
	p := &tab{browser: b, t: t, native: make(chan string, 1<<16)}
	var target struct{ TargetID, SessionID string }
	p.must(b.call("", "Target.createTarget", object{"url": "about:blank"}, &target))
	p.must(b.call("", "Target.attachToTarget", object{"targetId": target.TargetID, "flatten": true}, &target))
	p.session = target.SessionID
	p.attach(p.session)
	p.must(p.call(p.session, "Page.enable", nil, nil))
	p.must(p.call(p.session, "Target.setAutoAttach", object{"autoAttach": true, "waitForDebuggerOnStart": false, "flatten": true}, nil))
	p.must(p.call(p.session, "Runtime.addBinding", object{"name": "nativeSend"}, nil))
	if source != "" {
		p.must(p.call(p.session, "Page.addScriptToEvaluateOnNewDocument", object{"source": source}, nil))
	}
	id := target.TargetID
	t.Cleanup(func() { <-b.send("", "Target.closeTarget", object{"targetId": id}) })
	return p
}

// attach listens to a DevTools session: of the page, or of a frame in it.
func (p *tab) attach(session string) {
	p.browser.mu.Lock()
	p.events[session] = p.event
	p.browser.mu.Unlock()
	p.send(session, "Runtime.enable", nil)
	p.send(session, "Log.enable", nil)
}

func (p *tab) event(m message) {
	var e struct {
		SessionID, Payload, Type string
		Entry                    struct{ Level, Text, URL string }
		ExceptionDetails         json.RawMessage
		Args                     json.RawMessage
	}
	json.Unmarshal(m.Params, &e)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch m.Method {
	case "Runtime.bindingCalled":
		p.native <- e.Payload
	case "Target.attachedToTarget":
		go p.attach(e.SessionID)
	case "Runtime.exceptionThrown":
		p.errors = append(p.errors, "exception: "+string(e.ExceptionDetails))
	case "Runtime.consoleAPICalled":
		p.errors = append(p.errors, "console: "+e.Type+" "+string(e.Args))
	case "Log.entryAdded":
		p.errors = append(p.errors, e.Entry.Level+": "+e.Entry.Text+" "+e.Entry.URL)
	}
}

// console returns what has been written to the console, but for lines with one of the
// texts.
func (p *tab) console(but ...string) (lines []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
next:
	for _, line := range p.errors {
		for _, text := range but {
			if strings.Contains(line, text) {
				continue next
			}
		}
		lines = append(lines, line)
	}
	return lines
}

func (p *tab) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// open navigates to a URL.
func (p *tab) open(url string) {
	p.t.Helper()
	var result struct{ ErrorText string }
	p.must(p.call(p.session, "Page.navigate", object{"url": url}, &result))
	if result.ErrorText != "" {
		p.t.Fatal(result.ErrorText)
	}
}

// run runs a script, and returns its value as text.
func (p *tab) run(script string) string {
	p.t.Helper()
	var result struct {
		Result           struct{ Value any }
		ExceptionDetails json.RawMessage
	}
	p.must(p.call(p.session, "Runtime.evaluate", object{"expression": script, "returnByValue": true}, &result))
	if result.ExceptionDetails != nil {
		p.t.Fatalf("%.100s: %s", script, result.ExceptionDetails)
	}
	return fmt.Sprint(result.Result.Value)
}
