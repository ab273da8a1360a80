package main

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// A table fits its width: columns of a high rank are left out, and the last one is cut.
// Without a width it has everything.
func TestTablesFitTheWidth(t *testing.T) {
	t.Parallel()
	tab := &table{columns: []column{{title: "NAME"}, {title: "UP", right: true, rank: 1}, {title: "STATE", rank: 3}, {title: "NOTE", rank: 2}}}
	tab.add("alice", "1.5 MiB", "enabled", "a note that is longer than the others")
	tab.add("bob", "3 B", "disabled", "\x1b[31mred\nand\ttabs\u202e")
	for width, want := range map[int]string{
		0:  "NAME        UP  STATE     NOTE\nalice  1.5 MiB  enabled   a note that is longer than the others\nbob        3 B  disabled  ?[31mred and tabs?\n",
		80: "NAME        UP  STATE     NOTE\nalice  1.5 MiB  enabled   a note that is longer than the others\nbob        3 B  disabled  ?[31mred and tabs?\n",
		60: "NAME        UP  NOTE\nalice  1.5 MiB  a note that is longer than the others\nbob        3 B  ?[31mred and tabs?\n",
		30: "NAME        UP  NOTE\nalice  1.5 MiB  a note that i…\nbob        3 B  ?[31mred and …\n",
		20: "NAME        UP\nalice  1.5 MiB\nbob        3 B\n",
		8:  "NAME\nalice\nbob\n",
		2:  "NAME\nalice\nbob\n",
	} {
		var out strings.Builder
		if err := tab.write(&out, width); err != nil {
			t.Fatal(err)
		}
		if out.String() != want {
			t.Errorf("%d columns:\n%s\nwant\n%s", width, out.String(), want)
		}
		for line := range strings.Lines(out.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); width > 5 && n > width {
				t.Errorf("%d columns: a line has %d", width, n)
			}
		}
	}
}

// Numbers of bytes have three digits and a unit; limits have all of them.
func TestBytesAreShort(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{
		0: "0 B", 1: "1 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 10<<10 + 512: "10.5 KiB", 999 << 10: "999 KiB", 1000 << 10: "0.98 MiB",
		5 << 30: "5 GiB", 1<<63 - 1: "8 EiB",
	} {
		if got := byteText(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
	for n, want := range map[int64]string{
		1: "1 B", 1024: "1 KiB", 1000: "1 kB", 1 << 20: "1 MiB", 3 << 19: "1536 KiB", 10_000_000_000: "10 GB", 1<<40 + 1: "1099511627777 B", 100 << 30: "100 GiB",
	} {
		got := limitText(n)
		if got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
		if value, err := parseBytes(got); err != nil || value != n {
			t.Errorf("%s: %v, %v", got, value, err)
		}
	}
}
