package faults_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

// binary is the program under test, built once.
var binary string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "faults")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "mtwire")
	os.Setenv("STATE_DIRECTORY", filepath.Join(dir, "state")) // of the programs
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	overlay, err := writeOverlay(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	build := exec.Command("go", "build", "-overlay", overlay, "-o", binary, "../cmd/mtwire")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	// Parallel tests mostly wait, so there may be more than processors.
	flag.Parse()
	if err := flag.Set("test.parallel", "12"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	notRun.mu.Lock()
	defer notRun.mu.Unlock()
	if n := len(notRun.all); n > 0 {
		fmt.Fprintf(os.Stderr, "faults: %d did not run here:\n", n)
		for _, variant := range notRun.all {
			fmt.Fprintf(os.Stderr, "faults: not run: %s\n", variant)
		}
	}
	return code
}

// writeOverlay writes a file for go build that adds testdata/collect.go to the program
// under test, on Linux, and gives it the clock of testdata/wallclock.go.
func writeOverlay(dir string) (path string, err error) {
	replace := make(map[string]string)
	for file, hook := range map[string]string{
		"../cmd/mtwire/collect_linux.go":   "testdata/collect.go",
		"../internal/service/wallclock.go": "testdata/wallclock.go",
	} {
		if file, err = filepath.Abs(file); err != nil {
			return "", err
		}
		if hook, err = filepath.Abs(hook); err != nil {
			return "", err
		}
		replace[file] = hook
	}
	overlay := map[string]map[string]string{"Replace": replace}
	b, err := json.Marshal(overlay)
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, b, 0o600)
}

// notRun lists the variants of faults that cannot run on this system.
var notRun struct {
	mu  sync.Mutex
	all []string
}

// reportNotRun logs that a variant of a fault cannot run on this system, and
// lists it at the end of the output. The same fault has another variant, which
// runs everywhere.
func reportNotRun(t *testing.T, variant string, cause error) {
	t.Helper()
	t.Logf("not run: %s: %v", variant, cause)
	notRun.mu.Lock()
	defer notRun.mu.Unlock()
	notRun.all = append(notRun.all, fmt.Sprintf("%s: %s: %v", t.Name(), variant, cause))
}
