package vectors_test

import (
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/vectors"
)

// Fields in which a change need not be seen. All others decide.
var (
	unchecked = []string{
		"about", "spec", "source", "test", "free",
		"head",       // most headers mean nothing
		"max-length", // decides only at its border, where cases stand on both sides
		"clock",      // so does the clock
		"domain",     // clients may name no host
		"first",      // what is near is a case of its own
		"from",       // the sides differ in service packets alone, which stand on both
	}

	// In a case that ends in an error, many inputs end in the same one.
	uncheckedInErrors = []string{"wire", "secret", "key", "text", "dc", "random", "protocol", "body"}

	// Where there are several, only one fits.
	uncheckedIfSeveral = []string{"secret", "key"}

	// mainFields hold what a peer sent: what a free byte in them is does not
	// matter, and that is checked too.
	mainFields = []string{"wire", "auth-key"}
)

// "Each test must be able to fail": with any field changed, in every byte that
// the case does not call free, the case fails. For bytes from the wire that is
// the proof that CRC, HMAC, tags and lengths are looked at.
func TestEveryFieldDecides(t *testing.T) {
	each(t, func(t *testing.T, c vectors.Case) {
		places, err := free(c)
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range c.Fields {
			if slices.Contains(unchecked, f.Key) || isNegative(c) && slices.Contains(uncheckedInErrors, f.Key) ||
				f.Key == "status" && len(c.All("result")) > 0 ||
				slices.Contains(uncheckedIfSeveral, f.Key) && (len(c.All(f.Key)) > 1 || servesWithoutSecret(c)) {
				continue
			}
			main := slices.Contains(mainFields, f.Key)
			for at, value := range changes(f) {
				if f.Key == "secret" && at > 16 {
					break // the domain
				}
				changed := c
				changed.Fields = slices.Clone(c.Fields)
				changed.Fields[i].Value = value
				err := run(changed, whole)
				if mattersNot := main && places[at]; mattersNot && err != nil && !isEncoded(c) {
					t.Errorf("%s fails with another free byte at %d: %v", f.Key, at, err)
				} else if !mattersNot && err == nil {
					t.Errorf("%s may as well be, changed at %d, %.20s", f.Key, at, value)
				}
			}
		}
	})
}

// isNegative says whether the case ends in an error, and isEncoded whether it
// also fixes each byte that is sent.
func isNegative(c vectors.Case) bool {
	for _, f := range c.Fields {
		switch f.Key {
		case "error", "mtwire", "unknown", "status":
			return true
		case "forbidden", "result":
			return true
		}
	}
	return false
}

func servesWithoutSecret(c vectors.Case) bool {
	index, _ := c.Get("secret-index")
	return index == "-1"
}

func isEncoded(c vectors.Case) bool {
	encode, ok := c.Get("encode")
	_, ours := c.Get("init")
	return ok && encode == "yes" || ours
}

// changes yields other values of a field, and where they differ.
func changes(f vectors.Field) func(yield func(int, string) bool) {
	return func(yield func(int, string) bool) {
		if f.Key == "encode" {
			if f.Value == "no" {
				yield(0, "yes")
			}
			return // "yes" promises more than "no"
		}
		if other, ok := opposites[f.Value]; ok {
			yield(0, other)
			return
		}
		if n, err := strconv.ParseInt(f.Value, 10, 64); err == nil && len(f.Value) < 20 && f.Key != "text" {
			yield(0, strconv.FormatInt(n+1, 10))
			return
		}
		b, err := hex.DecodeString(f.Value)
		if err != nil || len(b) == 0 {
			word, rest, _ := strings.Cut(f.Value, " ")
			if n, err := strconv.Atoi(rest); err == nil && f.Key != "text" {
				yield(0, word+" "+strconv.Itoa(n+1))
				return
			}
			yield(0, "0"+f.Value)
			return
		}
		for at := range b {
			if at >= 256 && at < len(b)-64 && at%16 != 0 {
				continue // the middle of something long, where bytes are alike
			}
			for _, bit := range []byte{0x01, 0x40} {
				b[at] ^= bit
				more := yield(at, hex.EncodeToString(b))
				b[at] ^= bit
				if !more {
					return
				}
			}
		}
	}
}

var opposites = map[string]string{
	"abridged": "intermediate", "intermediate": "abridged", "padded-intermediate": "abridged", "full": "abridged",
	"yes": "no", "no": "yes",
	"incomplete": "malformed", "empty": "incomplete", "too-short": "too-long", "too-long": "too-short",
	"malformed": "incomplete", "no-match": "malformed",
	"nop": "error 1",
}
