package config

import "strings"

// Nearest returns the name that fewest typing mistakes turn into text, or "" if that
// would take more than one for each three letters. A dash and an underscore are the
// same letter.
func Nearest(text string, names []string) (near string) {
	text = strings.ReplaceAll(text, "_", "-")
	best := len(text)/3 + 1
	for _, name := range names {
		if mistakes := typingMistakes(text, strings.ReplaceAll(name, "_", "-")); mistakes < best {
			near, best = name, mistakes
		}
	}
	if near == "" && len(text) >= 3 {
		for _, name := range names { // --max-unauth, --proxy-protocol
			if dashed := strings.ReplaceAll(name, "_", "-"); strings.HasPrefix(dashed, text) || strings.HasSuffix(dashed, "-"+text) {
				return name
			}
		}
	}
	return near
}

// typingMistakes returns the number of letters that are missing, added, replaced or
// swapped with the next one between two texts: the distance of Damerau and
// Levenshtein, of texts that change no letter twice.
func typingMistakes(a, b string) int {
	var before, last, row []int // of the table's row before the last, and so on
	for i := range len(a) + 1 {
		before, last, row = last, row, make([]int, len(b)+1)
		for j := range row {
			if i == 0 || j == 0 {
				row[j] = i + j
				continue
			}
			different := 1
			if a[i-1] == b[j-1] {
				different = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+different)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
