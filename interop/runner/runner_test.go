package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// "A client that cannot be installed is a visible, counted line."
func TestWhatIsMissingIsCountedAndShown(t *testing.T) {
	dc := 2
	results := table{Rows: []row{
		{Client: "a", Version: "1", Case: "dd", Transport: "MTProxy dd", Tag: "dddddddd", DC: &dc, Hello: 1753, Request: "req_pq", Result: passed},
		{Client: "a", Version: "1", Case: "ee", Transport: "MTProxy ee", Result: failed, Reason: "no | answer"},
		{Client: "b", Result: notInstalled, Reason: "npm is down"},
		{Client: "c", Version: "2", Result: notRun, Reason: "a network namespace needs root"},
		{Client: "d", Result: notAsked, Reason: "--gui runs it"},
	}}
	if n := results.count(); n != (counts{1, 1, 1, 1, 1}) {
		t.Errorf("counted %+v", n)
	}
	var text bytes.Buffer
	if err := results.print(&text); err != nil {
		t.Fatal(err)
	}
	text.WriteString(results.summary())
	page := filepath.Join(t.TempDir(), "page.md")
	if err := results.write(page); err != nil {
		t.Fatal(err)
	}
	markdown, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"tag dddddddd, DC 2, hello 1753, req_pq", "NOT INSTALLED: npm is down", "NOT RUN: a network namespace needs root",
		"1 passed, 1 failed, 1 clients not installed, 1 clients not run, 1 clients not asked for",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, &text)
		}
		if !bytes.Contains(markdown, []byte(want)) {
			t.Errorf("the page lacks %q:\n%s", want, markdown)
		}
	}
	if !bytes.Contains(markdown, []byte(`no \| answer`)) {
		t.Errorf("a bar in a cell ends it:\n%s", markdown)
	}
}

// --strict fails if a client could not be installed or run, and no run passes
// in which nothing ran.
func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		n      counts
		strict bool
		fails  bool
	}{
		{counts{passed: 1}, false, false},
		{counts{passed: 1}, true, false},
		{counts{passed: 1, failed: 1}, false, true},
		{counts{passed: 1, notInstalled: 1}, false, false},
		{counts{passed: 1, notInstalled: 1}, true, true},
		{counts{notRun: 1}, false, false},
		{counts{notRun: 1}, true, true},
		{counts{}, false, true},
		{counts{notAsked: 1}, false, true},
		{counts{passed: 1, notAsked: 1}, true, false},
	} {
		if err := c.n.verdict(c.strict); (err != nil) != c.fails {
			t.Errorf("%+v, strict: %v: %v", c.n, c.strict, err)
		}
	}
}

// Clients that need a window are run when they are asked for, and named when
// they are not.
func TestClientsWithWindowsAreAskedFor(t *testing.T) {
	interop := t.TempDir()
	for _, file := range []string{"plain/install", "window/install", "window/gui"} {
		path := filepath.Join(interop, "clients", file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		only         []string
		gui          bool
		runs, others string
	}{
		{nil, false, "plain", "window"},
		{nil, true, "plain window", ""},
		{[]string{"window"}, false, "window", ""},
		{[]string{"plain"}, true, "plain", ""},
	} {
		clients, others, err := findClients(interop, c.only, c.gui)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, found := range clients {
			names = append(names, found.Name)
		}
		if runs, others := strings.Join(names, " "), strings.Join(others, " "); runs != c.runs || others != c.others {
			t.Errorf("with %v and gui %v runs %q, and not %q", c.only, c.gui, runs, others)
		}
	}
}

func TestClientThatCannotBeInstalledSaysWhy(t *testing.T) {
	c := &client{Name: "a", Source: t.TempDir()}
	script := "#!/bin/sh\necho working >&2\necho the registry is down >&2\nexit 3\n"
	if err := os.WriteFile(filepath.Join(c.Source, "install"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	err := c.install(t.Context(), t.TempDir())
	if err == nil || !strings.HasPrefix(err.Error(), "the registry is down (") {
		t.Errorf("the reason is %v", err)
	}
}

// gotd's installer compiles what the runner builds: it waits for that, and the
// table's order is still that of the names.
func TestClientsAreInstalledWhileTheRestIsBuilt(t *testing.T) {
	order := filepath.Join(t.TempDir(), "order")
	var clients []*client
	for _, name := range []string{"a", testServer, "z"} {
		c := &client{Name: name, Source: t.TempDir()}
		script := "#!/bin/sh\necho " + name + " >>" + order + "\n" + "echo 1\n"
		if name == "a" {
			script = "#!/bin/sh\nexit 1\n"
		}
		if err := os.WriteFile(filepath.Join(c.Source, "install"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	built := &binaries{}
	built.building.Go(func() {
		for { // as long as the others take
			text, _ := os.ReadFile(order)
			if string(text) == "z\n" {
				break
			}
			time.Sleep(time.Millisecond)
		}
		os.WriteFile(order, []byte("z\nbuilt\n"), 0o644)
	})
	installed, rows := installAll(t.Context(), clients, t.TempDir(), built)
	if len(installed) != 2 || installed[0].Name != testServer || installed[1].Name != "z" {
		t.Errorf("installed %v", installed)
	}
	if len(rows) != 1 || rows[0].Client != "a" || rows[0].Result != notInstalled {
		t.Errorf("the rows are %v", rows)
	}
	if text, _ := os.ReadFile(order); string(text) != "z\nbuilt\n"+testServer+"\n" {
		t.Errorf("the order was %q", text)
	}
}

// Who interrupts a run does not want its compilers to go on without it.
func TestInterruptedBuildLeavesNoCompiler(t *testing.T) {
	bin := t.TempDir()
	fifo := filepath.Join(bin, "open-in-all-of-them")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\nexec 3>" + fifo + "\nsleep 600 &\necho compiling >&3\nwait\n"
	if err := os.WriteFile(filepath.Join(bin, "go"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	ctx, interrupt := context.WithCancel(t.Context())
	built := make(chan error, 1)
	go func() { built <- build(ctx, bin, "binary", "./package") }()
	running, err := os.Open(fifo)
	if err != nil {
		t.Fatal(err)
	}
	defer running.Close()
	running.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadFull(running, make([]byte, len("compiling\n"))); err != nil {
		t.Fatal(err)
	}
	interrupt()
	if err := <-built; err == nil {
		t.Error("it is built")
	}
	if _, err := running.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("some of it goes on: %v", err)
	}
}

func TestWhoIsToBeAloneIs(t *testing.T) {
	cases := []testCase{{Name: "one"}, {Name: "load", Alone: true}, {Name: "two"}}
	c := &client{Source: t.TempDir()}
	if beside, alone := c.split(cases); len(beside) != 2 || len(alone) != 1 || alone[0].Name != "load" {
		t.Errorf("beside others: %v; alone: %v", beside, alone)
	}
	if err := os.WriteFile(filepath.Join(c.Source, "gui"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if beside, alone := c.split(cases); len(beside) != 0 || len(alone) != 3 {
		t.Errorf("with a window, beside others: %v; alone: %v", beside, alone)
	}
}

func TestCasesThatMakeNoSenseAreRefused(t *testing.T) {
	for _, line := range []string{
		``, `{}`, `{"name": "a"}`,
		`{"name": "a", "transport": "b"}`,
		`{"name": "a", "transport": "b", "secret": "what"}`,
		`{"name": "a", "transport": "b", "secret": "dd", "endpoint": "where"}`,
		`{"name": "a", "transport": "b", "endpoint": "dc", "scheme": "gopher"}`,
		`{"name": "a", "transport": "b", "secret": "dd", "endpoint": "dc", "leaks": true}`,
	} {
		if _, err := parseCase([]byte(line)); err == nil {
			t.Errorf("%s is taken", line)
		}
	}
	c, err := parseCase([]byte(`{"name": "a", "transport": "b", "secret": "dd", "expect": {"tag": "", "dc": -2}}`))
	if err != nil {
		t.Fatal(err)
	}
	if c.Endpoint != endpointProxy || c.Timeout != 30 || c.DC != 2 || *c.Expect.Tag != "" || *c.Expect.DC != -2 {
		t.Errorf("read %+v", c)
	}
}

func TestClientsAreToldWhereToGo(t *testing.T) {
	for _, c := range []struct{ scheme, secret, want string }{
		{"tcp", "none", "tcp://127.0.0.1:1000"},
		{"ws", "none", "ws://127.0.0.1:1000/apiws"},
		{"wss", "none", "wss://127.0.0.1:1000/apiws"},
		{"http", "none", "http://127.0.0.1:1000/api"},
		{"https", "none", "https://127.0.0.1:1000/api"},
		{"tcp", "plain", "tg://proxy?server=127.0.0.1&port=1000&secret=" + secrets["plain"]},
	} {
		if got := endpointURL(testCase{Scheme: c.scheme, Secret: c.secret}, 1000); got != c.want {
			t.Errorf("with %s and %s: %s, and not %s", c.scheme, c.secret, got, c.want)
		}
	}
}

// Each thing that a case expects is compared, with the connection on which
// there was an answer.
func TestWhatTheDataCentreSawIsCompared(t *testing.T) {
	said := `{"event":"connected","remote":"1:1","transport":"tcp, full"}
{"event":"connected","remote":"1:2","transport":"tcp, obfuscated, abridged","tag":"efefefef","dc":2}
{"event":"request","remote":"1:1","request":"encrypted message","answer":"-404"}
{"event":"request","remote":"1:2","request":"req_pq","answer":"resPQ"}
`
	other, tag, dc, media := "eeeeeeee", "efefefef", 2, -2
	for _, c := range []struct {
		want  expect
		wrong string
	}{
		{expect{}, ""},
		{expect{Tag: &tag, DC: &dc, Transport: "tcp, obfuscated, abridged", Request: "req_pq"}, ""},
		{expect{Tag: &other}, "tag"},
		{expect{DC: &media}, "DC -2"},
		{expect{Transport: "tcp, full"}, "transport"},
		{expect{Request: "req_pq_multi"}, "request"},
		{expect{Hello: 517}, "hello"},
	} {
		s := &stage{dc: &server{}}
		s.dc.stdout.Write([]byte(said))
		var r row
		err := s.check(testCase{Expect: c.want}, &r)
		if c.wrong == "" && err != nil || c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
			t.Errorf("%+v: %v", c.want, err)
		}
		if r.Tag != tag || *r.DC != dc || r.Request != "req_pq" {
			t.Errorf("the row is %+v", r)
		}
	}
	s := &stage{dc: &server{}}
	if err := s.check(testCase{}, &row{}); err == nil {
		t.Error("a case passed without an answer")
	}
}

func TestTapSaysHowLongTheHelloWas(t *testing.T) {
	for _, c := range []struct {
		first string
		want  int
	}{
		{"\x16\x03\x01\x06\xd4 and so on", 5 + 0x6d4},
		{"\x16\x04\x01\x06\xd4 and so on", 0}, // an init payload that begins so
		{"\x16\x03", 0},
		{"\xef", 0},
	} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		tap, err := startTap(ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		client, err := net.Dial("tcp", tap.ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		// A byte at a time, as a network may bring them.
		for _, b := range []byte(c.first) {
			client.Write([]byte{b})
		}
		client.(*net.TCPConn).CloseWrite()
		server, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(server); string(got) != c.first || err != nil {
			t.Errorf("the server got %q, %v", got, err)
		}
		io.WriteString(server, "answer")
		server.Close()
		if got, err := io.ReadAll(client); string(got) != "answer" || err != nil {
			t.Errorf("the client got %q, %v", got, err)
		}
		client.Close()
		tap.stop()
		ln.Close()
		if got := tap.helloLength(); got != c.want {
			t.Errorf("%q: a hello of %d bytes, want %d", c.first, got, c.want)
		}
	}
}

// "children ended by pid": with all that they started.
func TestNobodyIsLeftBehind(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	// The second process holds the pipe open until it is killed.
	cmd := command(ctx, "sh", "-c", "sleep 1000 & echo started; wait")
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	cmd.Stdout = write
	done := make(chan error, 1)
	go func() {
		done <- runGroup(cmd)
		write.Close()
	}()
	if _, err := read.Read(make([]byte, 64)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("a killed process succeeded")
	}
	read.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadAll(read); err != nil {
		t.Errorf("somebody is left: %v", err)
	}
}
