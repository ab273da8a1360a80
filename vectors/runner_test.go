package vectors_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/vectors"
)

// checks has the implementation of each test. README.md describes the tests for
// other implementations.
var checks = map[string]func(r *reader, depth depth) error{
	"frames":            checkFrames,
	"token":             checkToken,
	"init":              checkInit,
	"forbidden":         checkForbidden,
	"dc":                checkDC,
	"secret":            checkSecret,
	"link":              checkLink,
	"client-hello":      checkClientHello,
	"server-flight":     checkServerFlight,
	"records":           checkRecords,
	"http-request":      checkHTTPRequest,
	"http-answer":       checkHTTPAnswer,
	"websocket-upgrade": checkUpgrade,
	"websocket-close":   checkClose,
	"detect":            checkDetect,
	"datacenter":        checkDataCenter,
	"message":           checkMessage,
	"connection":        checkConnection,
}

// depth is the set of ways in which the bytes of a case arrive.
type depth bool

const (
	whole depth = false // all at once
	split depth = true  // also one by one, and in two parts split at every offset
)

// arrivals yields the pieces of b for each of these ways.
func (d depth) arrivals(b []byte) iter.Seq[[][]byte] {
	return func(yield func([][]byte) bool) {
		if !yield([][]byte{b}) || d == whole {
			return
		}
		single := make([][]byte, 0, len(b))
		for i := range b {
			single = append(single, b[i:i+1])
		}
		if !yield(single) {
			return
		}
		for i := 1; i < len(b); i++ {
			if !yield([][]byte{b[:i], b[i:]}) {
				return
			}
		}
	}
}

// describe returns the way in which pieces arrive, for errors.
func describe(pieces [][]byte) string {
	switch len(pieces) {
	case 1:
		return "all at once"
	case 2:
		return fmt.Sprintf("split at %d", len(pieces[0]))
	}
	return "byte by byte"
}

// reader parses the fields of a case for its check.
type reader struct {
	c    vectors.Case
	used map[string]bool // the keys that the check has requested
	err  error           // the first error of a field
}

func (r *reader) fail(key, format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("field %s: %s", key, fmt.Sprintf(format, args...))
	}
}

// optional returns an optional field.
func (r *reader) optional(key string) (string, bool) {
	values := r.all(key)
	switch len(values) {
	case 0:
		return "", false
	case 1:
	default:
		r.fail(key, "given %d times", len(values))
	}
	return values[0], true
}

func (r *reader) has(key string) bool {
	_, ok := r.optional(key)
	return ok
}

func (r *reader) all(key string) []string {
	r.used[key] = true
	return r.c.All(key)
}

func (r *reader) text(key string) string {
	value, ok := r.optional(key)
	if !ok {
		r.fail(key, "missing")
	}
	return value
}

func (r *reader) bytes(key string) []byte { return r.hex(key, r.text(key)) }

func (r *reader) hex(key, text string) []byte {
	b, err := hex.DecodeString(text)
	if err != nil || hex.EncodeToString(b) != text {
		r.fail(key, "%q is not in lower-case hexadecimal", text)
	}
	return b
}

// fixed returns a field of length bytes.
func (r *reader) fixed(key string, length int) []byte {
	b := r.bytes(key)
	if len(b) != length {
		r.fail(key, "%d bytes, want %d", len(b), length)
		return make([]byte, length)
	}
	return b
}

func (r *reader) number(key string) int64 {
	text := r.text(key)
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		r.fail(key, "%q is not a number", text)
	}
	return n
}

func (r *reader) yes(key string) bool { return r.isYes(key, r.text(key)) }

func (r *reader) isYes(key, text string) bool {
	if text != "yes" && text != "no" {
		r.fail(key, "%q is neither yes nor no", text)
	}
	return text == "yes"
}

// flag returns an optional field of yes or no.
func (r *reader) flag(key string) bool {
	text, ok := r.optional(key)
	return ok && r.isYes(key, text)
}

// free returns the offsets of the bytes in the case's main field that are ignored.
func free(c vectors.Case) (map[int]bool, error) {
	offsets := make(map[int]bool)
	text, _ := c.Get("free")
	for _, part := range strings.Fields(text) {
		var from, to int
		if _, err := fmt.Sscanf(part, "%d-%d", &from, &to); err != nil || from >= to {
			return nil, fmt.Errorf("field free: %q is not FROM-TO", part)
		}
		for i := from; i < to; i++ {
			offsets[i] = true
		}
	}
	return offsets, nil
}

// run runs one case. A field that the check does not use is an error.
func run(c vectors.Case, d depth) error {
	r := &reader{c: c, used: map[string]bool{"about": true, "spec": true, "source": true, "test": true, "free": true}}
	check, ok := checks[r.text("test")]
	if !ok {
		return fmt.Errorf("no test named %q", r.text("test"))
	}
	if _, err := free(c); err != nil {
		return err
	}
	err := check(r, d)
	if r.err != nil {
		return r.err
	}
	if err != nil {
		return err
	}
	for _, f := range c.Fields {
		if !r.used[f.Key] {
			return fmt.Errorf("field %s is not used", f.Key)
		}
	}
	return nil
}

// equal returns an error unless got and want are equal. It has both from 16 bytes
// before the first difference.
func equal(what string, got, want []byte) error {
	if bytes.Equal(got, want) {
		return nil
	}
	i := 0
	for i < min(len(got), len(want)) && got[i] == want[i] {
		i++
	}
	from := max(i-16, 0)
	part := func(b []byte) []byte { return b[from:min(from+64, len(b))] }
	return fmt.Errorf("%s: %d bytes, want %d; from %d:\n got %x\nwant %x", what, len(got), len(want), from, part(got), part(want))
}

// same returns an error unless got and want are equal.
func same[T comparable](what string, got, want T) error {
	if got != want {
		return fmt.Errorf("%s: got %v, want %v", what, got, want)
	}
	return nil
}

func each(t *testing.T, f func(t *testing.T, c vectors.Case)) {
	rows, err := vectors.Rows()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		cases, err := vectors.Load(row)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(row, func(t *testing.T) {
			for _, c := range cases {
				t.Run(c.Name, func(t *testing.T) { f(t, c) })
			}
		})
	}
}

// Each case is decoded all at once, byte by byte and split at every offset, and
// encoded if it is for encoding.
func TestVectors(t *testing.T) {
	each(t, func(t *testing.T, c vectors.Case) {
		if err := run(c, split); err != nil {
			t.Error(err)
		}
	})
}

// The first four fields of every case are the same. Every test has a case.
func TestCasesHaveTheirDescriptionFirst(t *testing.T) {
	tests := make(map[string]bool)
	each(t, func(t *testing.T, c vectors.Case) {
		for i, key := range []string{"about", "spec", "source", "test"} {
			if len(c.Fields) <= i || c.Fields[i].Key != key || c.Fields[i].Value == "" || len(c.All(key)) != 1 {
				t.Fatalf("field %d is not %s", i, key)
			}
		}
		switch source, _ := c.Get("source"); source {
		case "example", "rule", "computed", "recorded":
		default:
			t.Errorf("source %q", source)
		}
		if spec, _ := c.Get("spec"); !strings.HasPrefix(spec, "https://") || !strings.Contains(spec, "/") {
			t.Errorf("spec %q", spec)
		}
		test, _ := c.Get("test")
		tests[test] = true
	})
	for name := range checks {
		if !tests[name] {
			t.Errorf("no case for the test %q", name)
		}
	}
}

// README.md describes the format for other implementations, with every row, test and
// field, and with an existing file as its example.
func TestReadmeNamesEveryField(t *testing.T) {
	b, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	readme := string(b)
	named := func(t *testing.T, name string) {
		if !strings.Contains(readme, "`"+name+"`") {
			t.Errorf("README.md does not name %q", name)
		}
	}
	each(t, func(t *testing.T, c vectors.Case) {
		named(t, c.Row)
		for _, f := range c.Fields {
			named(t, f.Key)
			switch f.Key {
			case "test":
				if !strings.Contains(readme, "**`"+f.Value+"`**") {
					t.Errorf("README.md has nothing on the test %q", f.Value)
				}
			case "source", "error", "protocol", "mode":
				named(t, f.Value)
			}
		}
	})
	example, err := fs.ReadFile(vectors.FS(), "framing/abridged-one-word.txt")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(readme, "```\n"+string(example)+"```\n") {
		t.Error("the example in README.md is not the file")
	}
}

// The change is an unknown, unused or missing field.
func TestCaseFailsForUnknownAndUnusedFields(t *testing.T) {
	cases, err := vectors.Load("framing")
	if err != nil {
		t.Fatal(err)
	}
	c := cases[slices.IndexFunc(cases, func(c vectors.Case) bool { return c.Name == "padded-cut-in-padding" })]
	if err := run(c, whole); err != nil {
		t.Fatal(err)
	}
	for _, f := range []vectors.Field{{Key: "pakcet", Value: "nop"}, {Key: "secret", Value: "00"}, {Key: "wire", Value: ""}, {Key: "free", Value: "3-1"}} {
		changed := c
		changed.Fields = append(append([]vectors.Field(nil), c.Fields...), f)
		if err := run(changed, whole); err == nil {
			t.Errorf("passed with %v added", f)
		}
	}
	for i := range c.Fields[3:] {
		changed := c
		changed.Fields = append(append([]vectors.Field(nil), c.Fields[:3+i]...), c.Fields[4+i:]...)
		if err := run(changed, whole); err == nil {
			t.Errorf("passed without %s", c.Fields[3+i].Key)
		}
	}
	changed := c
	changed.Fields = append([]vectors.Field(nil), c.Fields...)
	changed.Fields[3].Value = "no-such-test"
	if err := run(changed, whole); err == nil {
		t.Error("passed with a test that does not exist")
	}
}

var errUnexpected = errors.New("no error")
