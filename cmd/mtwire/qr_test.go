package main

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
	"rsc.io/qr"
)

// modulesOf reads printed half blocks back: true is dark.
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

// What is printed are the modules that the encoder made, inside a light margin
// of four, which the standard wants.
func TestPrintedBlocksAreTheCode(t *testing.T) {
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
		if len(rows) != code.Size+2*4+1 { // the number of lines is whole
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

func TestTooLongATextIsAnErrorAndPrintsNothing(t *testing.T) {
	var printed bytes.Buffer
	if err := printQR(&printed, strings.Repeat("long", 1000)); err == nil || printed.Len() > 0 {
		t.Errorf("%v, %d bytes", err, printed.Len())
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("full") }

func TestErrorsOfTheOutputAreTold(t *testing.T) {
	if err := printQR(full{}, "tg://proxy"); err == nil || err.Error() != "full" {
		t.Error(err)
	}
}

func TestFilesPipesAndBuffersAreNoTerminals(t *testing.T) {
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
	// The nearest to a terminal that every test machine has.
	if null, err := os.Open(os.DevNull); err != nil || !isTerminal(null) {
		t.Error("a character device is one", err)
	}
}
