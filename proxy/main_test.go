package proxy

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// "Everything returns to base": what the tests started is gone when all are
// over.
func TestMain(m *testing.M) {
	code := m.Run()
	left := ours("github.com/mtwire/")
	for begin := time.Now(); len(left) > 0 && time.Since(begin) < 10*time.Second; left = ours("github.com/mtwire/") {
		time.Sleep(10 * time.Millisecond)
	}
	if len(left) > 0 {
		fmt.Printf("goroutines are left:\n%s\n", strings.Join(left, "\n\n"))
		code = 1
	}
	os.Exit(code)
}

// ours returns the stacks of all goroutines, but its caller's, that something
// of that name is in.
func ours(name string) (stacks []string) {
	b := make([]byte, 4<<20)
	for _, stack := range strings.Split(string(b[:runtime.Stack(b, true)]), "\n\n")[1:] {
		if strings.Contains(stack, name) {
			stacks = append(stacks, stack)
		}
	}
	return stacks
}
