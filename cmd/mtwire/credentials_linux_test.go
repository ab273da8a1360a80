package main

import (
	"log/slog"
	"os"
	"testing"

	"github.com/mtwire/mtwire/internal/service"
)

// Links are shown on a terminal, and elsewhere on request.
func TestLinksAreShownOnATerminal(t *testing.T) {
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	_, pipe, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	log := slog.New(slog.DiscardHandler)
	for _, test := range []struct {
		out       *os.File
		requested bool
		want      bool
	}{
		{terminal, false, true}, {terminal, true, true}, {pipe, false, false}, {pipe, true, true},
	} {
		f := proxyFlags{config: service.Config{PrintLinks: test.requested}}
		if f.showsLinks(test.out, log) != test.want {
			t.Errorf("%s, requested %t: want %t", test.out.Name(), test.requested, test.want)
		}
	}
}
