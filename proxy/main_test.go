package proxy

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain checks that no goroutine which the tests started is left at the end.
func TestMain(m *testing.M) {
	code := m.Run()
	left := goroutinesIn("github.com/mtwire/")
	for begin := time.Now(); len(left) > 0 && time.Since(begin) < 30*time.Second; left = goroutinesIn("github.com/mtwire/") {
		time.Sleep(10 * time.Millisecond)
	}
	if len(left) > 0 {
		fmt.Printf("goroutines are left:\n%s\n", strings.Join(left, "\n\n"))
		code = 1
	}
	os.Exit(code)
}

// goroutinesIn returns the stacks that contain name, except the caller's own.
func goroutinesIn(name string) (stacks []string) {
	b := make([]byte, 4<<20)
	for _, stack := range strings.Split(string(b[:runtime.Stack(b, true)]), "\n\n")[1:] {
		if strings.Contains(stack, name) {
			stacks = append(stacks, stack)
		}
	}
	return stacks
}
