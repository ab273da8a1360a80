package migrate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/internal/service/config"
)

// seeds adds the examples.
func seeds(f *testing.F) {
	for _, name := range []string{"mtg.toml", "telemt.toml", "config.py", "MTProxy.service"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add("USERS = {'a': '00112233445566778899aabbccddee01'}\nX = [1, (2), (3,), -4.5e-3, r'\\', \"\"\"x\ny\"\"\", None] # end\n")
	f.Add("mtproto-proxy -H 443 -S 00112233445566778899aabbccddee01 \\\n -P '' --log=x -- y")
}

// Whatever is read as a configuration of any program ends in an error or in a document
// of TOML with keys of the schema.
func FuzzImport(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, text string) {
		for _, program := range append(Programs(), "") {
			result, err := Import([]byte(text), program)
			if err != nil {
				continue
			}
			var c struct {
				Users []config.User `toml:"user"`
			}
			_, err = config.Decode("x", result.TOML, &c)
			if len(c.Users) == 0 {
				t.Fatalf("%s: no user in %q made of %q: %v", program, result.TOML, text, err)
			}
		}
	})
}

// The reader of config.py ends, and the values that it reads have bounded depth. A
// statement begins in a line that is not before the last one's.
func FuzzReadPython(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, text string) {
		o, err := readPython([]byte(text), mtprotoproxyOptions)
		if err != nil {
			return
		}
		lines, last := strings.Count(text, "\n")+1, 0
		for _, s := range o.settings {
			if s.line < last || s.line > lines {
				t.Fatalf("%q: line %d after %d, of %d", text, s.line, last, lines)
			}
			last = s.line
			if d := depth(s.value); d > maxPythonDepth+1 {
				t.Fatalf("%q: depth %d", text, d)
			}
		}
	})
}

func depth(value any) (deepest int) {
	switch v := value.(type) {
	case []any:
		for _, element := range v {
			deepest = max(deepest, depth(element)+1)
		}
	case *dict:
		for _, element := range v.values {
			deepest = max(deepest, depth(element)+1)
		}
	}
	return deepest
}

// Words that are quoted are split to the same words.
func FuzzSplitWords(f *testing.F) {
	f.Add("a", "b c")
	f.Add("", `"\\'`)
	f.Fuzz(func(t *testing.T, a, b string) {
		quote := func(text string) string {
			return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
		}
		words, err := splitWords(quote(a) + " \t" + quote(b))
		if err != nil || len(words) != 2 || words[0] != a || words[1] != b {
			t.Errorf("%q, %q: %q, %v", a, b, words, err)
		}
	})
}
