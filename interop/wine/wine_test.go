// Package wine tests the Windows binary under Wine, as far as that goes: Wine 8 has no
// Unix sockets, and no way to remove a file that is open, which os.RemoveAll of Go
// needs, so most unit tests do not run there.
package wine

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/mtwiretest"
)

// testTimeout bounds what a process under Wine takes, which starts slowly.
const testTimeout = time.Minute

// useWine sets the environment for Wine, and returns the prefix that install made.
func useWine(t *testing.T) (prefix string) {
	t.Helper()
	cache := os.Getenv("MTWIRE_INTEROP_CACHE")
	if cache == "" {
		cache = filepath.Join("..", ".cache")
	}
	prefix, err := filepath.Abs(filepath.Join(cache, "wine"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(prefix, "drive_c", "windows", "system32", "bcryptprimitives.dll")); err != nil {
		t.Skipf("interop/wine/install has not made a prefix: %v", err)
	}
	t.Setenv("WINEPREFIX", prefix)
	t.Setenv("WINEDEBUG", "-all")
	// The variables of systemd, of this machine, are not Windows'.
	t.Setenv("STATE_DIRECTORY", "")
	t.Setenv("XDG_STATE_HOME", "")
	t.Cleanup(func() { exec.Command("wineserver", "-k").Run() }) // that of the prefix
	return prefix
}

// build runs the go command for Windows.
func build(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// output is what a process has written so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.ReplaceAll(o.text.String(), "\r", "")
}

// run returns the output of a program that ends.
func run(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "wine", args...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("%q does not end: %v\n%s", args, err, out)
	}
	return strings.ReplaceAll(string(out), "\r", "")
}

// The binary serves a client of this machine, keeps its secret in the local
// application data, and answers a port in use with the remedy.
func TestWindowsBinary(t *testing.T) {
	prefix := useWine(t)
	states := filepath.Join(prefix, "drive_c", "users", "*", "AppData", "Local", "mtwire")
	for _, old := range matches(t, states) {
		if err := os.RemoveAll(old); err != nil {
			t.Fatal(err)
		}
	}
	binary := filepath.Join(t.TempDir(), "mtwire.exe")
	build(t, "build", "-o", binary, "./cmd/mtwire")

	if out := run(t, binary, "demo"); !strings.Contains(out, "23 passed, 0 failed") {
		t.Errorf("demo:\n%s", out)
	}
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	dc := &mtwiretest.DataCenter{Listener: ln}
	go dc.Serve(t.Context())
	address := freeAddress(t)

	ctx, stop := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, "wine", binary, "proxy", "--listen", address, "--print-links", "--modes", "dd", "--dc", "*="+ln.Addr().String())
	cmd.WaitDelay = time.Second
	var stdout, stderr output
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer stop()
	link := regexp.MustCompile(`tg://proxy\?\S+`)
	for end := time.Now().Add(testTimeout); !link.MatchString(stdout.String()); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no link:\n%s%s", stdout.String(), stderr.String())
		}
	}
	ask(t, link.FindString(stdout.String()))
	if kept := matches(t, filepath.Join(states, "secret")); len(kept) != 1 || !strings.Contains(stderr.String(), `\AppData\Local\mtwire`) {
		t.Errorf("the secret is in %q\n%s", kept, stderr.String())
	}

	for command, remedy := range map[string]string{
		"proxy": "address already in use: another proxy or a web server may be running there",
		"dc":    "choose another address with --listen",
	} {
		if out := run(t, binary, command, "--listen", address); !strings.Contains(out, remedy) || strings.Contains(out, "winapi error") {
			t.Errorf("%s on a port in use:\n%s", command, out)
		}
	}
	if out := run(t, binary, "proxy", "--listen", "192.0.2.1:443"); !strings.Contains(out, "this machine does not have that address") {
		t.Errorf("another machine's address:\n%s", out)
	}
}

// The unit tests of what differs on Windows.
func TestWindowsUnitTests(t *testing.T) {
	useWine(t)
	for _, test := range []struct{ packagePath, name string }{
		{"./internal/netx", "TestErrorsOfSocketsAreRecognised"},
		{"./internal/service", "TestStateDirectoryIsTheFirstThatIsSet"},
	} {
		binary := filepath.Join(t.TempDir(), "test.exe")
		build(t, "test", "-c", "-o", binary, test.packagePath)
		if out := run(t, binary, "-test.v", "-test.run", "^"+test.name+"$"); !strings.Contains(out, "--- PASS: "+test.name) {
			t.Errorf("%s:\n%s", test.packagePath, out)
		}
	}
}

func matches(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := loopback.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// ask has a client receive resPQ through a link.
func ask(t *testing.T, link string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	conn, err := mtwire.Dial(ctx, link, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	nonce := [16]byte{1, 2, 3}
	if err := conn.Send(ctx, mtwiretest.AppendReqPQ(nil, nonce, nil)); err != nil {
		t.Fatal(err)
	}
	packet, err := conn.Receive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := mtwiretest.CheckResPQ(packet.Payload, nonce); err != nil {
		t.Error(err)
	}
}
