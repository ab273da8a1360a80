package screens

import (
	"image"
	"image/color"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A screen is that of a terminal: it wraps lines, scrolls, and interprets the escape
// sequences for colours of the 256-colour palette.
type screen struct {
	width, height int
	rows          [][]cell
	x             int
	fore, back    color.Gray // of what comes next
	theme         theme
	scrolled      int
}

// cell is a character with its colours.
type cell struct {
	char       rune
	fore, back color.Gray
}

// theme is a terminal's default colours.
type theme struct{ fore, back color.Gray }

var themes = map[string]theme{
	"dark":  {color.Gray{0xcc}, color.Gray{0x10}},
	"light": {color.Gray{0x20}, color.Gray{0xff}},
}

func newScreen(width, height int, t theme) *screen {
	s := &screen{width: width, height: height, fore: t.fore, back: t.back, theme: t}
	s.feed()
	return s
}

// feed starts a row, and scrolls if there is no room for it.
func (s *screen) feed() {
	row := make([]cell, s.width)
	for i := range row {
		row[i] = cell{' ', s.theme.fore, s.theme.back}
	}
	s.rows = append(s.rows, row)
	if len(s.rows) > s.height {
		s.rows = s.rows[1:]
		s.scrolled++
	}
}

// write shows text in the character set UTF-8 or ISO 8859-1.
func (s *screen) write(text, charset string) {
	for len(text) > 0 {
		if rest, ok := strings.CutPrefix(text, "\x1b["); ok {
			codes, after, _ := strings.Cut(rest, "m")
			s.colour(strings.Split(codes, ";"))
			text = after
			continue
		}
		char, size := rune(text[0]), 1
		if charset == "UTF-8" {
			char, size = utf8.DecodeRuneInString(text)
		}
		text = text[size:]
		switch char {
		case '\r':
			s.x = 0
		case '\n':
			s.feed()
		default:
			if s.x == s.width {
				s.feed()
				s.x = 0
			}
			s.rows[len(s.rows)-1][s.x] = cell{char, s.fore, s.back}
			s.x++
		}
	}
}

// colour sets the colours that an escape sequence has.
func (s *screen) colour(codes []string) {
	for len(codes) > 0 {
		switch {
		case len(codes) >= 3 && codes[1] == "5" && codes[0] == "38":
			s.fore, codes = palette(codes[2]), codes[2:]
		case len(codes) >= 3 && codes[1] == "5" && codes[0] == "48":
			s.back, codes = palette(codes[2]), codes[2:]
		default:
			s.fore, s.back = s.theme.fore, s.theme.back
		}
		codes = codes[1:]
	}
}

// palette returns a colour of the 6×6×6 cube, which themes do not change, as a grey.
func palette(code string) color.Gray {
	n, _ := strconv.Atoi(code)
	n -= 16
	return color.Gray{uint8((n/36 + n/6%6 + n%6) * 17)}
}

// text returns the characters, row by row, without line breaks.
func (s *screen) text() string {
	var text strings.Builder
	for _, row := range s.rows {
		for _, c := range row {
			text.WriteRune(c.char)
		}
	}
	return text.String()
}

// A character is 8 pixels wide and 16 high.
const (
	cellWidth  = 8
	cellHeight = 16
)

// picture returns what a camera sees of the screen.
func (s *screen) picture() image.Image {
	picture := image.NewGray(image.Rect(0, 0, s.width*cellWidth, s.height*cellHeight))
	for y := range s.height * cellHeight {
		for x := range s.width * cellWidth {
			c := cell{' ', s.theme.fore, s.theme.back}
			if row := y / cellHeight; row < len(s.rows) {
				c = s.rows[row][x/cellWidth]
			}
			grey := c.back
			if c.inked(x%cellWidth, y%cellHeight) {
				grey = c.fore
			}
			picture.SetGray(x, y, grey)
		}
	}
	return picture
}

// inked reports whether a pixel of the character has the foreground's colour. Letters
// are a pattern that differs for each: what they look like does not matter.
func (c cell) inked(x, y int) bool {
	switch c.char {
	case ' ':
		return false
	case '█':
		return true
	case '▀':
		return y < cellHeight/2
	case '▄':
		return y >= cellHeight/2
	}
	inside := 1 <= x && x < cellWidth-1 && 3 <= y && y < cellHeight-4
	return inside && uint32(c.char)*2654435761>>(uint(x/2+y/3*3)%29)&1 == 1
}
