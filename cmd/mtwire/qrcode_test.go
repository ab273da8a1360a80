package main

import (
	"bytes"
	"image/png"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/internal/service"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
	"rsc.io/qr"
)

// linkOf returns a link to a server with a secret.
func linkOf(t *testing.T, server, secret string) mtproxy.Link {
	return mtproxy.Link{Server: server, Port: 443, Secret: secretOf(t, secret)}
}

// sampleLinks are links of several lengths.
func sampleLinks(t *testing.T) []mtproxy.Link {
	return []mtproxy.Link{
		linkOf(t, "198.51.100.7", mtwiretest.PlainSecret),
		linkOf(t, "proxy.example.com", mtwiretest.PaddedSecret),
		linkOf(t, "2001:db8:1234:5678:9abc:def0:1234:5678", mtwiretest.FakeTLSSecret),
		linkOf(t, "прокси.рф", mtwiretest.FakeTLSSecret),
		linkOf(t, "proxy.example.com", "ee"+mtwiretest.PlainSecret+strings.Repeat("61", 182)),
	}
}

// The text of a QR code is the same link, and for FakeTLS a shorter one.
func TestQRCodeHasTheLinkInAShortForm(t *testing.T) {
	for _, link := range sampleLinks(t) {
		text := qrText(link)
		if got, err := mtproxy.ParseLink(text); err != nil || got != link {
			t.Errorf("%s is %v, %v", text, got, err)
		}
		if long := link.String(); link.Secret.Mode == mtproxy.FakeTLS && len(text) >= len(long) || len(text) > len(long) {
			t.Errorf("%s is not shorter than %s", text, long)
		}
	}
}

var escape = regexp.MustCompile("\x1b\\[([0-9;]*)m")

// modulesOf returns the modules of a drawn QR code, true for dark.
func modulesOf(t *testing.T, drawn string, d drawing) (rows [][]bool) {
	for line := range strings.Lines(drawn) {
		line = strings.TrimSuffix(line, "\n")
		if d == drawSpaces {
			var row []bool
			dark := false
			for rest := strings.TrimSuffix(line, "\x1b[0m"); rest != ""; {
				if after, ok := strings.CutPrefix(rest, "\x1b[48;5;231m"); ok {
					rest, dark = after, false
				} else if after, ok := strings.CutPrefix(rest, "\x1b[48;5;16m"); ok {
					rest, dark = after, true
				}
				cells, ok := strings.CutPrefix(rest, "  ")
				if !ok {
					t.Fatalf("%q", rest)
				}
				row, rest = append(row, dark), cells
			}
			rows = append(rows, row)
			continue
		}
		if colours := len(escape.FindAllString(line, -1)); d == drawBlocks != (colours == 2) || d == drawPlain != (colours == 0) {
			t.Fatalf("%q", line)
		}
		var upper, lower []bool
		for _, r := range escape.ReplaceAllString(line, "") {
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

// The drawn modules are those of the encoder, inside a light margin of two modules, and
// the drawing has the size that was told.
func TestDrawnQRCodeHasTheModulesOfTheEncoder(t *testing.T) {
	for _, link := range sampleLinks(t) {
		code, err := encodeQR(service.Link{Link: link})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range []drawing{drawBlocks, drawSpaces, drawPlain} {
			drawn := drawQR(code, d)
			rows := modulesOf(t, drawn, d)
			if len(rows)/2 != (code.Size+2*drawMargin)/2 && len(rows) != code.Size+2*drawMargin+1 {
				t.Fatalf("%d rows for %d modules", len(rows), code.Size)
			}
			for y, row := range rows {
				if len(row) != code.Size+2*drawMargin {
					t.Fatalf("row %d has %d modules", y, len(row))
				}
				for x, dark := range row {
					if dark != code.Black(x-drawMargin, y-drawMargin) {
						t.Fatalf("module %d, %d is dark: %t", x-drawMargin, y-drawMargin, dark)
					}
				}
			}
			width, height := drawnSize(code, d)
			first, _, _ := strings.Cut(drawn, "\n")
			if got := len([]rune(escape.ReplaceAllString(first, ""))); got != width || strings.Count(drawn, "\n") != height {
				t.Errorf("%d columns and %d lines, want %d and %d", got, strings.Count(drawn, "\n"), width, height)
			}
		}
	}
}

// A PNG has the modules of the encoder at eight pixels each, inside the standard's
// margin of four modules.
func TestPNGHasTheModulesOfTheEncoder(t *testing.T) {
	code, err := encodeQR(service.Link{Link: linkOf(t, "198.51.100.7", mtwiretest.FakeTLSSecret)})
	if err != nil {
		t.Fatal(err)
	}
	image, err := png.Decode(bytes.NewReader(imageOf(code, ".png")))
	if err != nil {
		t.Fatal(err)
	}
	size := code.Size + 2*imageMargin
	if image.Bounds().Dx() != 8*size || image.Bounds().Dy() != 8*size {
		t.Fatalf("%v for %d modules", image.Bounds(), size)
	}
	for y := range 8 * size {
		for x := range 8 * size {
			if r, _, _, _ := image.At(x, y).RGBA(); (r == 0) != code.Black(x/8-imageMargin, y/8-imageMargin) {
				t.Fatalf("pixel %d, %d: %d", x, y, r)
			}
		}
	}
}

// An SVG has a rectangle for each run of dark modules.
func TestSVGHasTheModulesOfTheEncoder(t *testing.T) {
	code, err := encodeQR(service.Link{Link: linkOf(t, "198.51.100.7", mtwiretest.FakeTLSSecret)})
	if err != nil {
		t.Fatal(err)
	}
	text := string(imageOf(code, ".svg"))
	if size := strconv.Itoa(code.Size + 2*imageMargin); !strings.HasPrefix(text, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 `+size+" "+size+`" `) {
		t.Error(text[:100])
	}
	dark := make(map[[2]int]bool)
	for _, m := range regexp.MustCompile(`M(\d+) (\d+)h(\d+)v1H(\d+)z`).FindAllStringSubmatch(text, -1) {
		x, _ := strconv.Atoi(m[1])
		y, _ := strconv.Atoi(m[2])
		n, _ := strconv.Atoi(m[3])
		if m[4] != m[1] {
			t.Fatal(m)
		}
		for i := range n {
			dark[[2]int{x + i - imageMargin, y - imageMargin}] = true
		}
	}
	for y := range code.Size {
		for x := range code.Size {
			if dark[[2]int{x, y}] != code.Black(x, y) {
				t.Fatalf("module %d, %d", x, y)
			}
		}
	}
}

func TestTooLongLinkHasNoQRCode(t *testing.T) {
	if _, err := qr.Encode(strings.Repeat("long", 1000), qr.L); err == nil {
		t.Error("no error")
	}
}
