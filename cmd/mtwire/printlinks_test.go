package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/internal/service"
	"github.com/mtwire/mtwire/mtwiretest"
)

// usual is the link of a first run on a server: an IPv4 address, the default port and
// the default domain.
func usual(t *testing.T) service.Link {
	link := linkOf(t, "198.51.100.70", "ee"+mtwiretest.PlainSecret+hexOf(service.DefaultDomain))
	link.Port = 8443
	return service.Link{User: "1", Link: link}
}

func hexOf(text string) (digits string) {
	for _, b := range []byte(text) {
		digits += string("0123456789abcdef"[b>>4]) + string("0123456789abcdef"[b&15])
	}
	return digits
}

// draw returns what drawLinks writes.
func draw(t *testing.T, links []service.Link, q qrFlag, screen *terminal) (out, status string) {
	t.Helper()
	var o, s bytes.Buffer
	if err := drawLinks(&o, &s, links, q, screen); err != nil {
		t.Fatal(err)
	}
	return o.String(), s.String()
}

// The QR code of a usual link and the link below it fit a terminal of 80 columns and
// 24 lines, with the cursor on the last line.
func TestUsualLinkFitsATerminal(t *testing.T) {
	screen := &terminal{80, 24, true, true}
	out, status := draw(t, []service.Link{usual(t)}, qrFlag{}, screen)
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	link := lines[len(lines)-1]
	if link != usual(t).String() || status != "" {
		t.Errorf("the last line is %s, the hint %q", link, status)
	}
	if rows := len(lines) - 1 + (len(link)+79)/80; rows > 23 || len(lines) < 20 {
		t.Errorf("%d rows, %d lines", rows, len(lines))
	}
	for _, line := range lines[:len(lines)-1] {
		if n := len([]rune(escape.ReplaceAllString(line, ""))); n > 80 {
			t.Errorf("%d columns", n)
		}
	}
}

// What does not fit a terminal is not drawn, and a hint names another way. What is
// drawn depends on colours and characters of the terminal.
func TestQRCodesAreDrawnWhereTheyCanBeSeen(t *testing.T) {
	link, long := usual(t), usual(t)
	long.Server = "a-long-name-of-a-server.example.com"
	colours, block := "\x1b[48;5;231m", "▀"
	for name, test := range map[string]struct {
		links  []service.Link
		flag   string
		screen *terminal
		want   string // in the output, "" for links alone
		hint   string
	}{
		"usual":                     {screen: &terminal{80, 24, true, true}, want: block},
		"no terminal":               {},
		"never":                     {flag: "never", screen: &terminal{80, 24, true, true}},
		"false":                     {flag: "false", screen: &terminal{80, 24, true, true}},
		"narrow":                    {screen: &terminal{40, 50, true, true}, hint: "no QR code, because it takes 41 columns and 25 lines, and the terminal has 40 and 50: --qr FILE.png writes it to a file"},
		"low":                       {screen: &terminal{80, 23, true, true}, hint: "no QR code, because it takes 41 columns and 24 lines, and the terminal has 80 and 23"},
		"long":                      {links: []service.Link{long}, screen: &terminal{80, 24, true, true}, hint: "45 columns and 26 lines"},
		"two":                       {links: []service.Link{link, link}, screen: &terminal{80, 24, true, true}, hint: "--qr FILE.png writes each to a file"},
		"two on a high terminal":    {links: []service.Link{link, link}, screen: &terminal{80, 50, true, true}, want: block},
		"Latin-1":                   {screen: &terminal{80, 24, true, false}, hint: "82 columns and 44 lines"},
		"Latin-1 on a big terminal": {screen: &terminal{120, 50, true, false}, want: colours},
		"no colours":                {screen: &terminal{80, 24, false, true}, hint: "no QR code, because the terminal has no colours here: --qr FILE.png"},
		"no colours, always":        {flag: "always", screen: &terminal{80, 24, false, true}, want: block},
		"narrow, always":            {flag: "always", screen: &terminal{20, 10, true, true}, want: block},
		"true":                      {flag: "true", screen: &terminal{20, 10, true, true}, want: block},
	} {
		t.Run(name, func(t *testing.T) {
			var q qrFlag
			if test.flag != "" {
				if err := q.Set(test.flag); err != nil {
					t.Fatal(err)
				}
			}
			if test.links == nil {
				test.links = []service.Link{link}
			}
			out, status := draw(t, test.links, q, test.screen)
			if !strings.Contains(out, test.want) || test.want == "" && strings.ContainsAny(out, "▀\x1b") {
				t.Errorf("%.200q", out)
			}
			if strings.Contains(out, "\x1b") && !test.screen.colours || strings.Contains(out, block) && !test.screen.blocks {
				t.Errorf("the terminal cannot show %.200q", out)
			}
			if !strings.Contains(status, test.hint) || test.hint == "" && status != "" {
				t.Errorf("hint %q, want %q", status, test.hint)
			}
			for _, l := range test.links {
				if !strings.Contains(out, l.String()+"\n") {
					t.Errorf("the link is missing: %.200q", out)
				}
			}
		})
	}
}

// A single link is printed alone. Several have names in front. A QR code is above each
// link.
func TestLinksArePrintedOnePerLine(t *testing.T) {
	alice, bob := usual(t), usual(t)
	alice.User, bob.User = "alice", "bob"
	code, err := encodeQR(alice)
	if err != nil {
		t.Fatal(err)
	}
	link, drawn := alice.String(), drawQR(code, drawBlocks)
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm-256color")
	t.Setenv("LC_ALL", "C.UTF-8")
	for _, test := range []struct {
		links []service.Link
		when  qrWhen
		want  string
	}{
		{[]service.Link{alice}, qrAuto, link + "\n"},
		{[]service.Link{alice}, qrAlways, drawn + link + "\n"},
		{[]service.Link{alice, bob}, qrAuto, "alice " + link + "\nbob " + link + "\n"},
		{[]service.Link{alice, bob}, qrAlways, drawn + "alice " + link + "\n" + drawn + "bob " + link + "\n"},
	} {
		if out, _ := draw(t, test.links, qrFlag{when: test.when}, nil); out != test.want {
			t.Errorf("%d links, %v:\n%s", len(test.links), test.when, out)
		}
	}
}

// Files have the name of the flag, or one for each user, and only the owner reads
// them.
func TestQRCodesAreWrittenToFiles(t *testing.T) {
	alice, bob := usual(t), usual(t)
	alice.User, bob.User = "alice", "bob"
	dir := t.TempDir()
	for _, test := range []struct {
		name  string
		links []service.Link
		want  []string
	}{
		{"code.png", []service.Link{alice}, []string{"code.png"}},
		{"Code.SVG", []service.Link{alice}, []string{"Code.SVG"}},
		{"all.png", []service.Link{alice, bob, bob}, []string{"all-alice.png", "all-bob.png", "all-bob-2.png"}},
	} {
		var q qrFlag
		if err := q.Set(filepath.Join(dir, test.name)); err != nil || q.String() != filepath.Join(dir, test.name) {
			t.Fatal(q, err)
		}
		out, status := draw(t, test.links, q, &terminal{80, 24, true, true})
		if strings.Contains(out, "▀") || strings.Count(status, "\n") != len(test.want) {
			t.Errorf("%.100q, %q", out, status)
		}
		for _, name := range test.want {
			text, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil || !(bytes.HasPrefix(text, []byte("\x89PNG")) || bytes.HasPrefix(text, []byte("<svg "))) {
				t.Errorf("%s: %.20q, %v", name, text, err)
			}
			if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm()&0o077 != 0 && os.PathSeparator == '/' {
				t.Errorf("%s: %v, %v", name, info.Mode(), err)
			}
		}
	}
	err := drawLinks(&bytes.Buffer{}, &bytes.Buffer{}, []service.Link{alice}, qrFlag{qrFile, filepath.Join(dir, "none", "code.png")}, nil)
	if err == nil || !strings.HasPrefix(err.Error(), "--qr: ") {
		t.Error(err)
	}
}

func TestBadQRFlagIsAnError(t *testing.T) {
	for _, text := range []string{"", "code.jpeg", "yes", "png"} {
		q := qrFlag{when: qrNever}
		if err := q.Set(text); err == nil || q.when != qrNever {
			t.Errorf("%q: %v, %v", text, q, err)
		}
	}
}

// full is a writer without space.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("full") }

func TestErrorsOfTheOutputAreReturned(t *testing.T) {
	if err := drawLinks(full{}, &bytes.Buffer{}, []service.Link{usual(t)}, qrFlag{}, nil); err == nil || err.Error() != "full" {
		t.Error(err)
	}
}

// The environment tells what a terminal can show.
func TestEnvironmentTellsWhatATerminalShows(t *testing.T) {
	for text, want := range map[string][2]bool{ // colours, blocks
		"":                             {true, true},
		"TERM=xterm-256color":          {true, true},
		"TERM=dumb":                    {false, true},
		"NO_COLOR=1":                   {false, true},
		"LANG=de_DE.UTF-8":             {true, true},
		"LANG=C":                       {true, true},
		"LANG=C.utf8":                  {true, true},
		"LANG=de_DE.ISO-8859-1":        {true, false},
		"LANG=de_DE@euro":              {true, false},
		"LANG=de_DE":                   {true, false},
		"LANG=ru_RU.KOI8-R":            {true, false},
		"LANG=de_DE.UTF-8@euro":        {true, true},
		"LANG=C.UTF-8 LC_ALL=de_DE":    {true, false},
		"LANG=de_DE LC_CTYPE=de.UTF-8": {true, true},
	} {
		env := make(map[string]string)
		for _, setting := range strings.Fields(text) {
			name, value, _ := strings.Cut(setting, "=")
			env[name] = value
		}
		get := func(name string) string { return env[name] }
		if got := [2]bool{hasColours(get), hasBlocks(get)}; got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}
