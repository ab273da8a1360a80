package mtproxy

import (
	"regexp"
	"strings"
	"unicode"
)

// lineBreak matches a line break of a link that was wrapped, and the indentation of
// the next line.
var lineBreak = regexp.MustCompile(`[ \t]*[\r\n]+[ \t]*`)

// brackets are the pairs of characters that are put around links and secrets.
var brackets = [...][2]string{{"<", ">"}, {`"`, `"`}, {"'", "'"}, {"`", "`"}, {"“", "”"}, {"«", "»"}, {"(", ")"}}

// TrimPasted returns a link or a secret that was copied from a text without what was
// around it: space, invisible characters, quotation marks and angle brackets. It joins
// lines that were wrapped, and replaces &amp; by &.
func TrimPasted(text string) string {
	for {
		text = strings.TrimFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.Is(unicode.Cf, r) })
		before := text
		for _, pair := range brackets {
			if inner, ok := strings.CutPrefix(text, pair[0]); ok {
				if inner, ok = strings.CutSuffix(inner, pair[1]); ok {
					text = inner
				}
			}
		}
		if text == before {
			break
		}
	}
	return strings.ReplaceAll(lineBreak.ReplaceAllString(text, ""), "&amp;", "&")
}
