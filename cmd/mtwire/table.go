package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Tables for people: columns that are aligned, and as many as a terminal has room for.

// column is a column of a table. Of columns that do not fit, those of the highest rank are
// left out; one of rank 0 stays.
type column struct {
	title string
	right bool // its cells are aligned on the right
	rank  int
}

// table is rows of texts.
type table struct {
	columns []column
	rows    [][]string
}

// columnGap is between two columns.
const columnGap = 2

// add appends a row, with a cell for each column.
func (t *table) add(cells ...string) {
	for i := range cells {
		cells[i] = oneLine(cells[i])
	}
	t.rows = append(t.rows, cells)
}

// tableWidth returns the width of a table on w, 0 for any.
func tableWidth(w io.Writer) int {
	if t := terminalOf(w); t != nil {
		return t.width
	}
	return 0
}

// write writes the table in lines of at most width characters, 0 for any: of a column that
// does not fit as a whole, the last one is cut.
func (t *table) write(w io.Writer, width int) error {
	shown, widths := t.fit(width)
	titles := make([]string, len(t.columns))
	for i, c := range t.columns {
		titles[i] = c.title
	}
	out := bufio.NewWriter(w)
	for _, row := range append([][]string{titles}, t.rows...) {
		var line strings.Builder
		for n, i := range shown {
			if n > 0 {
				line.WriteString(strings.Repeat(" ", columnGap))
			}
			cell := cut(row[i], widths[i])
			space := strings.Repeat(" ", max(0, widths[i]-utf8.RuneCountInString(cell)))
			if t.columns[i].right {
				line.WriteString(space + cell)
			} else {
				line.WriteString(cell + space)
			}
		}
		fmt.Fprintln(out, strings.TrimRight(line.String(), " "))
	}
	return out.Flush()
}

// fit returns the columns that are shown, and the widths of all.
func (t *table) fit(width int) (shown, widths []int) {
	widths = make([]int, len(t.columns))
	for i, c := range t.columns {
		widths[i] = len(c.title)
		for _, row := range t.rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
		shown = append(shown, i)
	}
	if width <= 0 {
		return shown, widths
	}
	for {
		total, worst := -columnGap, 0
		for n, i := range shown {
			total += widths[i] + columnGap
			if t.columns[i].rank >= t.columns[shown[worst]].rank {
				worst = n
			}
		}
		if total <= width {
			return shown, widths
		}
		last := shown[worst]
		if left := width - total + widths[last]; worst == len(shown)-1 && worst > 0 && left >= minCut {
			widths[last] = left
			return shown, widths
		}
		if t.columns[last].rank == 0 {
			return shown, widths
		}
		shown = append(shown[:worst:worst], shown[worst+1:]...)
	}
}

// minCut is the least width of a column that is cut.
const minCut = 12

// cut returns text with at most width characters.
func cut(text string, width int) string {
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	runes := []rune(text)
	return string(runes[:max(0, width-1)]) + "…"
}

// oneLine returns a text that shows on one line, and changes nothing else of a terminal.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsPrint(r):
			return r
		}
		return '?'
	}, text)
}

// byteText returns a number of bytes with three digits and a unit.
func byteText(n int64) string {
	units := []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/(1<<10), 0
	for value >= 999.5 && unit < len(units)-1 {
		value, unit = value/(1<<10), unit+1
	}
	digits := 0
	switch {
	case value < 10:
		digits = 2
	case value < 100:
		digits = 1
	}
	text := fmt.Sprintf("%.*f", digits, value)
	if digits > 0 {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text + " " + units[unit]
}
