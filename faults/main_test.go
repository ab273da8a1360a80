package faults_test

import (
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
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	build := exec.Command("go", "build", "-o", binary, "../cmd/mtwire")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	// Those that run at the same time mostly wait.
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	absences.mu.Lock()
	defer absences.mu.Unlock()
	if n := len(absences.all); n > 0 {
		fmt.Fprintf(os.Stderr, "faults: %d did not run here:\n", n)
		for _, what := range absences.all {
			fmt.Fprintf(os.Stderr, "faults: not run: %s\n", what)
		}
	}
	return code
}

// absences are what could not be tried on this system.
var absences struct {
	mu  sync.Mutex
	all []string
}

// absent says aloud that a variant of a fault does not run here. The same fault
// has another variant that does.
func absent(t *testing.T, what string, why error) {
	t.Helper()
	t.Logf("not run: %s: %v", what, why)
	absences.mu.Lock()
	defer absences.mu.Unlock()
	absences.all = append(absences.all, fmt.Sprintf("%s: %s: %v", t.Name(), what, why))
}
