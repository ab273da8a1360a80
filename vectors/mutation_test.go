package vectors_test

import (
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/vectors"
)

// A change in these fields may have no effect. A change in any other must fail the
// case.
var (
	unchecked = []string{
		"about", "spec", "source", "test", "free",
		"head",       // most headers are ignored
		"max-length", // only matters at the limit, which has cases on both sides
		"clock",      // only matters at the ends of its window
		"domain",     // clients may send no host
		"first",      // similar bytes have their own cases
		"from",       // only matters for service packets, which have cases for both sides
	}

	// Many inputs end in the same error.
	uncheckedInErrors = []string{"wire", "secret", "key", "text", "dc", "random", "protocol", "body"}

	// If there are several, only one matches.
	uncheckedIfSeveral = []string{"secret", "key"}

	// mainFields have a peer's bytes. A change in their free bytes must have no
	// effect.
	mainFields = []string{"wire", "auth-key"}
)

// A case fails after a change of any field, in every byte that is not free. For
// bytes on the wire this proves that CRC, HMAC, tags and lengths are checked.
func TestEveryFieldDecides(t *testing.T) {
	each(t, func(t *testing.T, c vectors.Case) {
		freeOffsets, err := free(c)
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
			for offset, value := range changes(f) {
				if f.Key == "secret" && offset > 16 {
					break // the domain
				}
				changed := c
				changed.Fields = slices.Clone(c.Fields)
				changed.Fields[i].Value = value
				err := run(changed, whole)
				if isFree := main && freeOffsets[offset]; isFree && err != nil && !isEncoded(c) {
					t.Errorf("%s: failed after a change of the free byte at %d: %v", f.Key, offset, err)
				} else if !isFree && err == nil {
					t.Errorf("%s: passed after a change at %d to %.20s", f.Key, offset, value)
				}
			}
		}
	})
}

// isNegative reports whether the case ends in an error.
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

// isEncoded reports whether the case is also for encoding, where every byte counts.
func isEncoded(c vectors.Case) bool {
	encode, ok := c.Get("encode")
	_, ours := c.Get("init")
	return ok && encode == "yes" || ours
}

// changes yields other values of a field, with the offset of the difference.
func changes(f vectors.Field) func(yield func(int, string) bool) {
	return func(yield func(int, string) bool) {
		if f.Key == "encode" {
			if f.Value == "no" {
				yield(0, "yes")
			}
			return // a case for encoding is for decoding too
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
		for i := range b {
			if i >= 256 && i < len(b)-64 && i%16 != 0 {
				continue // a sample of a long payload is enough
			}
			for _, bit := range []byte{0x01, 0x40} {
				b[i] ^= bit
				more := yield(i, hex.EncodeToString(b))
				b[i] ^= bit
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
