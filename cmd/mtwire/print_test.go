package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/internal/service"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
	"rsc.io/qr"
)

func secretOf(t *testing.T, text string) mtproxy.Secret {
	secret, err := mtproxy.ParseSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// modulesOf returns the modules of a printed QR code, true for dark.
func modulesOf(t *testing.T, printed string) (rows [][]bool) {
	for line := range strings.Lines(printed) {
		cells, ok := strings.CutPrefix(line, "\x1b[38;5;231;48;5;16m")
		cells, closed := strings.CutSuffix(cells, "\x1b[0m\n")
		if !ok || !closed {
			t.Fatalf("a line without its colours: %q", line)
		}
		var upper, lower []bool
		for _, r := range cells {
			halves, ok := map[rune][2]bool{'█': {false, false}, '▀': {false, true}, '▄': {true, false}, ' ': {true, true}}[r]
			if !ok {
				t.Fatalf("character %q", r)
			}
			upper, lower = append(upper, halves[0]), append(lower, halves[1])
		}
		rows = append(rows, upper, lower)
	}
	return rows
}

// The printed modules are those of the encoder, inside the standard's light margin of
// four modules.
func TestQRCodeHasTheModulesOfTheEncoder(t *testing.T) {
	for _, secret := range []string{mtwiretest.PlainSecret, mtwiretest.FakeTLSSecret, "ee" + mtwiretest.PlainSecret + strings.Repeat("61", 182)} {
		link := mtproxy.Link{Server: "proxy.example.com", Port: 443, Secret: secretOf(t, secret)}.String()
		var printed bytes.Buffer
		if err := printQR(&printed, link); err != nil {
			t.Fatal(err)
		}
		code, err := qr.Encode(link, qr.L)
		if err != nil {
			t.Fatal(err)
		}
		rows := modulesOf(t, printed.String())
		if len(rows) != code.Size+2*4+1 { // a line has two rows
			t.Fatalf("%d rows for %d modules", len(rows), code.Size)
		}
		for y, row := range rows {
			if len(row) != code.Size+2*4 {
				t.Fatalf("row %d has %d modules", y, len(row))
			}
			for x, dark := range row {
				if dark != code.Black(x-4, y-4) {
					t.Fatalf("module %d, %d is dark: %t", x-4, y-4, dark)
				}
			}
		}
	}
}

func TestTooLongTextIsAnErrorWithoutOutput(t *testing.T) {
	var printed bytes.Buffer
	if err := printQR(&printed, strings.Repeat("long", 1000)); err == nil || printed.Len() > 0 {
		t.Errorf("%v, %d bytes", err, printed.Len())
	}
}

// full is a writer without space.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("full") }

func TestErrorsOfTheOutputAreReturned(t *testing.T) {
	if err := printQR(full{}, "tg://proxy"); err == nil || err.Error() != "full" {
		t.Error(err)
	}
}

func TestFilesPipesAndBuffersAreNotTerminals(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if isTerminal(f) || isTerminal(w) || isTerminal(&bytes.Buffer{}) {
		t.Error(isTerminal(f), isTerminal(w), isTerminal(&bytes.Buffer{}))
	}
	// Another character device than a terminal, which a test may not have.
	if null, err := os.Open(os.DevNull); err != nil || !isTerminal(null) {
		t.Error("a character device is not a terminal", err)
	}
}

// A single link is printed alone. Several have names in front. A QR code follows each
// link if it is asked for, and no link to a pipe or file otherwise.
func TestLinksArePrintedOnePerLine(t *testing.T) {
	link := mtproxy.Link{Server: "proxy.example.com", Port: 443, Secret: secretOf(t, mtwiretest.PlainSecret)}
	links := []service.Link{{User: "alice", Link: link}, {User: "bob", Link: link}}
	var code bytes.Buffer
	if err := printQR(&code, link.String()); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		links []service.Link
		codes qrCodes
		want  string
	}{
		{links[:1], qrOnTerminal, link.String() + "\n"},
		{links[:1], qrAlways, link.String() + "\n" + code.String()},
		{links, qrOnTerminal, "alice " + link.String() + "\nbob " + link.String() + "\n"},
		{links, qrAlways, "alice " + link.String() + "\n" + code.String() + "bob " + link.String() + "\n" + code.String()},
	} {
		var printed bytes.Buffer
		if err := printLinks(&printed, test.links, test.codes); err != nil || printed.String() != test.want {
			t.Errorf("%d links, QR codes %t: %v\n%s", len(test.links), test.codes, err, &printed)
		}
	}
}

// An error is one line with the program's name. Its exit code is 2, or the code of an
// exitError, which may be without a line.
func TestErrorsHaveALineAndAnExitCode(t *testing.T) {
	problem := errors.New("problem")
	for _, test := range []struct {
		err  error
		code int
		want string
	}{
		{problem, 2, "mtwire: problem\n"},
		{&exitError{code: 1, err: problem}, 1, "mtwire: problem\n"},
		{&exitError{code: 1}, 1, ""},
		{fmt.Errorf("wrapped: %w", &exitError{code: 3, err: problem}), 3, "mtwire: problem\n"},
	} {
		var printed bytes.Buffer
		if code := printError(&printed, test.err); code != test.code || printed.String() != test.want {
			t.Errorf("%v: exit code %d, %q", test.err, code, &printed)
		}
	}
}
