package browser

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/mtwiretest"
)

// timeout bounds a run in the browser, on a slow machine.
const timeout = 2 * time.Minute

// cases is how many cases page/ has.
const cases = 14

// The WebSocket client works in Chromium: in every framing, with and without TLS,
// with packets longer than the browser sends at once, with contexts that end, and
// with servers that refuse, close or do not answer.
func TestClientWorksInChromium(t *testing.T) {
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("NOT RUN: there is no Chromium; interop/browser/install gets it")
	}
	outcome := runPage(t, chromium, build(t), endpoints(t))
	lines := strings.Split(strings.TrimSpace(outcome), "\n")
	for _, line := range lines {
		if t.Log(line); !strings.HasSuffix(line, ": ok") {
			t.Error(line)
		}
	}
	if len(lines) != cases {
		t.Errorf("%d cases", len(lines))
	}
}

// build compiles page/ and returns the directory with all files of the page.
func build(t *testing.T) string {
	dir := t.TempDir()
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "main.wasm"), "./page")
	cmd.Env = append(os.Environ(), "GOOS=js", "GOARCH=wasm")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{
		filepath.Join(strings.TrimSpace(string(root)), "lib", "wasm", "wasm_exec.js"): "wasm_exec.js",
		"page/index.html": "index.html",
	} {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, to), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// endpoints starts servers, and returns their URLs as a query.
func endpoints(t *testing.T) url.Values {
	dc := mtwiretest.NewDataCenter(nil)
	t.Cleanup(dc.Close)
	closing, err := mtwire.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	go closing.Serve(ctx, func(ctx context.Context, conn *mtwire.Conn) { conn.Receive(ctx) })
	silent := listen(t)
	refusing, err := loopback.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return url.Values{
		"ws":       {"ws://" + dc.Addr().String() + "/apiws"},
		"wss":      {"wss://" + dc.Addr().String() + "/apiws"},
		"closing":  {"ws://" + closing.Addr().String() + "/apiws"},
		"silent":   {"ws://" + silent.Addr().String() + "/apiws"},
		"refusing": {"ws://" + refusing + "/apiws"},
	}
}

func listen(t *testing.T) net.Listener {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// runPage opens the page in dir, and returns what it posts.
func runPage(t *testing.T, chromium, dir string, query url.Values) string {
	results := make(chan string, 1)
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServer(http.Dir(dir)))
	mux.HandleFunc("POST /result", func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			b = fmt.Append(nil, err)
		}
		select {
		case results <- string(b):
		default:
		}
	})
	server := httptest.NewServer(mux)
	defer server.Close()

	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var log bytes.Buffer
	cmd := exec.CommandContext(ctx, chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--no-first-run", "--disable-sync", "--disable-background-networking", "--disable-component-update", "--disable-breakpad", "--enable-logging=stderr",
		"--ignore-certificate-errors", "--remote-debugging-pipe", "--user-data-dir="+t.TempDir(), server.URL+"/?"+query.Encode())
	cmd.Stdout, cmd.Stderr = &log, &log
	// Its end makes Chromium and all its processes exit.
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer write.Close()
	out, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.ExtraFiles = []*os.File{read, out} // descriptors 3 and 4
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read.Close()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case outcome := <-results:
		write.Close()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			cancel()
			<-ended
		}
		return outcome
	case err := <-ended:
		t.Fatalf("Chromium ended: %v\n%s", err, &log)
	}
	return ""
}
