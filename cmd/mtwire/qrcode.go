package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"github.com/mtwire/mtwire/internal/service"
	"github.com/mtwire/mtwire/mtproxy"
	"rsc.io/qr"
)

// qrText returns a link as it is in a QR code: with the secret of FakeTLS in base64url
// and the colons of an IPv6 address as they are, because a short text makes a small
// code.
//
// It is a tg://proxy link, not an https://t.me/proxy link. A phone's camera opens the
// former in the app. The latter may be opened in a browser, which requests it from
// t.me: on a network that needs a proxy this request hangs, and it exposes the secret
// to that network.
func qrText(l mtproxy.Link) string {
	server, secret := url.QueryEscape(l.Server), l.Secret.String()
	if _, err := netip.ParseAddr(l.Server); err == nil {
		server = l.Server
	}
	if l.Secret.Mode == mtproxy.FakeTLS {
		secret = l.Secret.Base64URL()
	}
	return fmt.Sprintf("tg://proxy?server=%s&port=%d&secret=%s", server, l.Port, secret)
}

// encodeQR returns the QR code of a link, or an error if the link is too long for
// one. The lowest level of error correction gives the smallest code, and a screen has
// no damage to correct.
func encodeQR(l service.Link) (*qr.Code, error) {
	if l.Web.Host != "" {
		return qr.Encode(l.String(), qr.L)
	}
	return qr.Encode(qrText(l.Link), qr.L)
}

// drawing is a way to draw a QR code on a terminal.
type drawing int

const (
	drawNothing drawing = iota
	// drawBlocks has half-block characters: two modules each, one above the other,
	// because a character is about twice as high as wide. Foreground and background
	// are set, because some scanners do not read a light code on a dark background.
	// The colours are from the part of the 256-colour palette that themes do not
	// change.
	drawBlocks
	// drawSpaces has two spaces with a background for each module, in any character
	// set.
	drawSpaces
	// drawPlain is drawBlocks without colours: right on a dark terminal only, because
	// the characters draw the light modules.
	drawPlain
)

// drawMargin is the light margin around a code on a terminal, in modules. The
// standard has four, and scanners read a code with two.
const drawMargin = 2

// drawnSize returns the width and height of a drawn code, in characters.
func drawnSize(code *qr.Code, d drawing) (width, height int) {
	modules := code.Size + 2*drawMargin
	if d == drawSpaces {
		return 2 * modules, modules
	}
	return modules, (modules + 1) / 2
}

// drawQR returns the lines of a drawn code.
func drawQR(code *qr.Code, d drawing) string {
	const (
		lightOnDark = "\x1b[38;5;231;48;5;16m"
		lightGround = "\x1b[48;5;231m"
		darkGround  = "\x1b[48;5;16m"
		plain       = "\x1b[0m"
	)
	var out strings.Builder
	_, height := drawnSize(code, d)
	for line := range height {
		ground := "" // that is set
		if d == drawBlocks {
			out.WriteString(lightOnDark)
		}
		for x := -drawMargin; x < code.Size+drawMargin; x++ {
			if d != drawSpaces {
				y := 2*line - drawMargin // the size is odd, so the lower half of the last line is outside
				out.WriteRune(halfBlocks(!code.Black(x, y), !code.Black(x, y+1)))
				continue
			}
			wanted := lightGround
			if code.Black(x, line-drawMargin) {
				wanted = darkGround
			}
			if wanted != ground {
				ground = wanted
				out.WriteString(ground)
			}
			out.WriteString("  ")
		}
		if d != drawPlain {
			out.WriteString(plain)
		}
		out.WriteByte('\n')
	}
	return out.String()
}

// halfBlocks returns the character whose upper and lower halves are drawn or not.
func halfBlocks(upper, lower bool) rune {
	switch {
	case upper && lower:
		return '█'
	case upper:
		return '▀'
	case lower:
		return '▄'
	}
	return ' '
}

// imageMargin is the margin of an image of a code, that of the standard, in modules.
const imageMargin = 4

// imageOf returns a code as a file with that extension: .png, with eight pixels for a
// module, or .svg.
func imageOf(code *qr.Code, extension string) []byte {
	if extension == ".png" {
		code.Scale = 8
		return code.PNG()
	}
	var out bytes.Buffer
	size := code.Size + 2*imageMargin
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" shape-rendering="crispEdges">`, size, size, 8*size, 8*size)
	fmt.Fprintf(&out, `<path fill="#fff" d="M0 0h%dv%dH0z"/><path d="`, size, size)
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			start := x
			for code.Black(x, y) {
				x++
			}
			if x > start {
				fmt.Fprintf(&out, "M%d %dh%dv1H%dz", start+imageMargin, y+imageMargin, x-start, start+imageMargin)
			}
		}
	}
	out.WriteString("\"/></svg>\n")
	return out.Bytes()
}
