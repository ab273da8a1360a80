package service

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/internal/service/config"
)

// writeFiles writes files of these names and texts to a new directory, which it returns.
func writeFiles(t *testing.T, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const examplePath = "../../examples/mtwire.toml"

// leftOut matches a setting in the example that is left out.
var leftOut = regexp.MustCompile(`(?m)^#([a-z_]+ = |\[)`)

// The example in the repository loads, passes all checks, and has every key; so does
// the example with all settings that it leaves out.
func TestExampleHasEveryKey(t *testing.T) {
	c, document, err := LoadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range Check(c, slog.New(slog.DiscardHandler)) {
		t.Error(NameError(err, document))
	}
	text, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	whole := leftOut.ReplaceAll(text, []byte("$1"))
	c = Default()
	if document, err = config.Decode("whole", whole, &c); err != nil {
		t.Fatal(err)
	}
	for _, key := range config.Keys(c) {
		name := key[strings.LastIndexByte(key, '.')+1:]
		if pattern := fmt.Sprintf(`(?m)^(%s = |\[\[%s\]\])`, name, name); !regexp.MustCompile(pattern).Match(whole) {
			t.Errorf("the example does not have %s", key)
		}
	}
	for _, wrong := range c.checkAll() {
		t.Error(NameError(wrong, document))
	}
}

// The page has each key of the schema once, and no others.
func TestPageHasEveryKey(t *testing.T) {
	page, err := os.ReadFile("../../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_.]+)` \\|").FindAllSubmatch(page, -1) {
		documented = append(documented, string(row[1]))
	}
	keys := config.Keys(Config{})
	slices.Sort(documented)
	slices.Sort(keys)
	if !slices.Equal(documented, keys) {
		t.Errorf("the page has\n%v\nand the schema\n%v", documented, keys)
	}
}

// The configurations that documents show can be decoded.
func TestDocumentsShowValidConfigurations(t *testing.T) {
	shown := 0
	for _, name := range []string{"README.md", "docs/config.md", "docs/proxy.md", "docs/operate.md", "docs/migrate.md"} {
		text, err := os.ReadFile(filepath.Join("../..", name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		for _, block := range regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllSubmatch(text, -1) {
			shown++
			c := Default()
			if _, err := config.Decode(name, block[1], &c); err != nil {
				t.Error(err)
			}
		}
	}
	if shown == 0 {
		t.Error("no document shows a configuration")
	}
}

// Paths are relative to the file's directory; a user's secrets come from all places.
func TestFilesAreRelativeToTheConfiguration(t *testing.T) {
	dir := writeFiles(t, map[string]string{
		"mtwire.toml": "secrets = 'more'\nblock = ['nets/a', '/b']\nstate = '/state'\n[[user]]\nname = 'alice'\nsecret_file = 'alice'\nsecret_env = 'ALICE'\nsecret = '" + plain(1) + "'\n",
		"alice":       plain(2) + "\n" + plain(3) + " # two\n",
		"more":        "bob=" + plain(4),
	})
	t.Setenv("ALICE", plain(5)+", "+plain(6))
	c, _, err := LoadFile(filepath.Join(dir, "mtwire.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if want := []config.Path{config.Path(filepath.Join(dir, "nets/a")), "/b"}; !reflect.DeepEqual(c.Block, want) || c.State != "/state" {
		t.Errorf("block %v and state %s", c.Block, c.State)
	}
	c.Block = nil
	s, err := New(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if len(s.limited) != 2 || s.limited[0].Name != "bob" || s.limited[1].Name != "alice" || len(s.limited[1].Secrets) != 5 {
		t.Errorf("users %+v", s.limited)
	}
}

// plain returns a plain secret.
func plain(i int) string { return fmt.Sprintf("%032x", i+1<<20) }

// A file of secrets that others may read is warned of.
func TestReadableFilesOfUsersAreWarnedOf(t *testing.T) {
	dir := writeFiles(t, map[string]string{"mtwire.toml": "[[user]]\nname = 'alice'\nsecret_file = 'alice'\n", "alice": plain(1)})
	c, _, err := LoadFile(filepath.Join(dir, "mtwire.toml"))
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	inFile := c
	inFile.Users = []config.User{{Name: "bob", Secret: config.Secret{Secret: secretOf(t, plain(2))}}}
	for _, mode := range []os.FileMode{0o600, 0o644} {
		for _, name := range []string{"alice", "mtwire.toml"} {
			if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
				t.Fatal(err)
			}
		}
		log.Reset()
		WarnOfReaders(filepath.Join(dir, "mtwire.toml"), c, slog.New(slog.NewTextHandler(&log, nil)))
		if log.Len() > 0 {
			t.Errorf("a file without secrets is warned of: %s", log.String())
		}
		WarnOfReaders(filepath.Join(dir, "mtwire.toml"), inFile, slog.New(slog.NewTextHandler(&log, nil)))
		if warned := strings.Contains(log.String(), "other users may read"); warned != (mode == 0o644) {
			t.Errorf("mode %v: %s", mode, log.String())
		}
		log.Reset()
		if wrong := Check(c, slog.New(slog.NewTextHandler(&log, nil))); len(wrong) > 0 {
			t.Fatal(wrong)
		}
		if warned := strings.Contains(log.String(), "other users may read"); warned != (mode == 0o644) {
			t.Errorf("mode %v: %s", mode, log.String())
		}
	}
}
