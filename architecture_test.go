package mtwire_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/mtwire/mtwire"

// architecture is the house: what each package may import of this module, and
// of the world beyond the standard library. Imports run downwards. A line here
// is changed with a reason, and docs/architecture.md with it.
var architecture = map[string]struct {
	own     []string
	foreign []string // each with its reason
}{
	// The wire layer does no I/O and serves everyone.
	"frame": {},

	// A loop that the listener and the proxy share.
	"internal/accept": {},

	// Borrowing memory and waiting without it.
	"internal/bufpool": {},
	// poll(2), which the standard library does not have.
	"internal/readbuf": {own: []string{"internal/bufpool"}, foreign: []string{"golang.org/x/sys/unix"}},

	// Trying a server's keys. The standard library keeps to itself what the
	// processor can do.
	"internal/manykeys": {foreign: []string{"golang.org/x/sys/cpu"}},
	// The PROXY protocol is two formats with many corners; this parser has been
	// tried by many proxies.
	"internal/proxyheader": {foreign: []string{"github.com/pires/go-proxyproto"}},

	// The layers. None of them knows another.
	"detect":      {own: []string{"frame"}},
	"obfuscation": {own: []string{"frame", "internal/bufpool", "internal/manykeys"}},
	// A hello that networks let through has to look like a browser's, and
	// browsers change: uTLS follows them.
	"faketls": {own: []string{"internal/manykeys"}, foreign: []string{"github.com/refraction-networking/utls"}},
	// WebSocket is not what this module is for; this implementation is small,
	// kept up, and works on any net.Conn.
	"wsconn":   {own: []string{"frame"}, foreign: []string{"github.com/coder/websocket"}},
	"httpconn": {own: []string{"frame"}},

	// Bytes between two connections, whatever they mean.
	// splice(2) with a pipe that is not held while waiting, readv(2), and an
	// epoll set for those that wait.
	"relay": {own: []string{"internal/bufpool", "internal/readbuf"}, foreign: []string{"golang.org/x/sys/unix"}},

	// What strangers of a proxy see. uTLS asks hosts as a browser would, so
	// that they answer as they answer one.
	"internal/front": {
		own:     []string{"faketls", "relay", "internal/bufpool", "internal/readbuf"},
		foreign: []string{"github.com/refraction-networking/utls", "golang.org/x/crypto/cryptobyte"},
	},

	// The library's face puts the layers together.
	".": {own: []string{"frame", "detect", "obfuscation", "faketls", "wsconn", "httpconn", "internal/accept", "internal/bufpool", "internal/readbuf"}},

	// The way to a data centre, and its first bytes.
	"internal/route": {
		own: []string{".", "frame", "obfuscation", "faketls"},
		// SOCKS5 as a client: a protocol of others, from the standard
		// library's own workshop.
		foreign: []string{"golang.org/x/net/proxy"},
	},

	"proxy": {
		own: []string{".", "faketls", "frame", "internal/accept", "internal/front", "internal/proxyheader", "internal/route", "obfuscation", "relay"},
		// What a socket still holds, which the standard library does not tell.
		foreign: []string{"golang.org/x/sys/unix"},
	},

	// Tests only: the proxy, in a test's process and as a program, on bad days.
	"faults": {},

	// Data: importable by anyone, importing nobody.
	"vectors": {},

	// For tests, the demo and the loopback data centre.
	"internal/testconn": {},
	"internal/testdc":   {own: []string{".", "frame"}},

	// Load on any proxy, and what it costs. clock_gettime(2) of another process,
	// which the standard library does not have.
	"internal/load": {
		own:     []string{".", "frame", "obfuscation", "internal/readbuf"},
		foreign: []string{"golang.org/x/sys/unix"},
	},

	// What the README shows.
	"examples/client": {own: []string{"."}},
	"examples/server": {own: []string{"."}},

	"cmd/mtwire": {
		own: []string{".", "frame", "obfuscation", "proxy", "internal/load", "internal/testconn", "internal/testdc"},
		// Commands, flags, help and completion, as users know them. Links as QR
		// codes, whose encoder is small and imports nothing.
		foreign: []string{"github.com/spf13/cobra", "rsc.io/qr"},
	},
}

// "Imports run one way, downwards, and a test says so."
func TestImportsRunDownwards(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			base := entry.Name()
			// Modules of their own have their own rules.
			if name == "interop" || name == "bench" || name == "tools" || base == "testdata" || strings.HasPrefix(base, ".") && name != "." {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		dir := path.Dir(filepath.ToSlash(name))
		seen[dir] = true
		rule, ok := architecture[dir]
		if !ok {
			t.Errorf("package %s has no place in the architecture", dir)
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			imported := strings.Trim(spec.Path.Value, `"`)
			switch own, ours := strings.CutPrefix(imported, module); {
			case ours:
				if own = strings.TrimPrefix(own, "/"); own == "" {
					own = "."
				}
				if !slices.Contains(rule.own, own) {
					t.Errorf("%s imports %s, which is not below it", name, own)
				}
			case strings.Contains(strings.Split(imported, "/")[0], "."):
				if !slices.Contains(rule.foreign, imported) {
					t.Errorf("%s imports %s without a reason", name, imported)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir := range architecture {
		if !seen[dir] {
			t.Errorf("package %s of the architecture does not exist", dir)
		}
	}
}
