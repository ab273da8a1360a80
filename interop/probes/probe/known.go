package probe

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// Known is a difference that is expected, with its reason. Sites, modes and names
// are patterns as of path.Match, several ones separated by commas.
type Known struct {
	Sites, Modes, Names string
	Kinds               []Kind
	Reason              string

	Line int // in the file
}

// ParseKnown reads known differences: a line for each, with sites, modes, names and
// kinds, and after a # the reason. Empty lines and those that begin with # are
// skipped.
func ParseKnown(r io.Reader) (all []Known, err error) {
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		columns, reason, _ := strings.Cut(text, "#")
		k := Known{Reason: strings.TrimSpace(reason), Line: n}
		fields := strings.Fields(columns)
		if len(fields) != 4 || k.Reason == "" {
			return nil, fmt.Errorf("line %d: want sites, modes, names, kinds and # a reason", n)
		}
		k.Sites, k.Modes, k.Names = fields[0], fields[1], fields[2]
		for _, patterns := range fields[:3] {
			for pattern := range strings.SplitSeq(patterns, ",") {
				if _, err := path.Match(pattern, ""); err != nil {
					return nil, fmt.Errorf("line %d: %q: %w", n, pattern, err)
				}
			}
		}
		for kind := range strings.SplitSeq(fields[3], ",") {
			k.Kinds = append(k.Kinds, Kind(kind))
		}
		all = append(all, k)
	}
	return all, lines.Err()
}

// Matches reports whether k is about that site, mode and name.
func (k Known) Matches(site string, mode Mode, name string) bool {
	return Matches(k.Sites, site) && Matches(k.Modes, string(mode)) && Matches(k.Names, name)
}

// Matches reports whether one of the patterns, separated by commas, matches. "*" alone matches everything,
// also a name with a slash.
func Matches(patterns, name string) bool {
	for pattern := range strings.SplitSeq(patterns, ",") {
		if ok, _ := path.Match(pattern, name); ok || pattern == "*" {
			return true
		}
	}
	return false
}

// explain removes the kinds that are known from kinds, and returns the ones left and
// the reasons of the others.
func explain(known []Known, site string, mode Mode, name string, kinds []Kind) (unknown []Kind, used []Known) {
	unknown = slices.Clone(kinds)
	for _, k := range known {
		if !k.Matches(site, mode, name) {
			continue
		}
		before := len(unknown)
		unknown = slices.DeleteFunc(unknown, func(kind Kind) bool { return slices.Contains(k.Kinds, kind) })
		if len(unknown) < before {
			used = append(used, k)
		}
	}
	return unknown, used
}
