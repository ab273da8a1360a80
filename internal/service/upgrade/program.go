package upgrade

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Command is how the new process is started.
type Command struct {
	Path string   // of the program
	Args []string // the first is the program's name

	// Chosen means that an operator has named the program in a request. Then other users
	// may not be able to change it if this process is root's.
	Chosen bool
}

// ProgramError is why a program cannot be upgraded to. Nothing has happened.
type ProgramError struct {
	Path string
	Err  error
}

func (e *ProgramError) Error() string { return e.Path + ": " + e.Err.Error() }

func (e *ProgramError) Unwrap() error { return e.Err }

// Check returns a *ProgramError if there is no program at c.Path that this process may
// start, or if that program does not accept the configuration: it starts it with --check
// in addition.
func (c *Command) Check(ctx context.Context) error {
	if err := c.checkFile(); err != nil {
		return &ProgramError{c.Path, err}
	}
	if err := c.checkConfiguration(ctx); err != nil {
		return &ProgramError{c.Path, err}
	}
	return nil
}

var (
	errNoFile      = errors.New("it is no file")
	errExecutable  = errors.New("it is not executable")
	errChangeable  = errors.New("users other than root can change it, and this process is root's")
	errNotAnswered = errors.New("the new program does not finish its check of the configuration")
)

func (c *Command) checkFile() error {
	if !filepath.IsAbs(c.Path) {
		return errors.New("the path must be absolute")
	}
	info, err := os.Stat(c.Path)
	var failed *os.PathError
	switch {
	case errors.As(err, &failed):
		return failed.Err
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return errNoFile
	case !isExecutable(c.Path):
		return errExecutable
	case c.Chosen && os.Geteuid() == 0 && !(isTrusted(info) && isTrustedPath(c.Path)):
		return errChangeable
	}
	return nil
}

// isTrustedPath reports whether root and this process's user, and no others, may put another
// file at a path, or where it leads to. In a directory like /tmp they may not.
func isTrustedPath(path string) bool {
	end, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false
	}
	for _, path := range []string{path, end} {
		for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
			info, err := os.Stat(dir)
			if err != nil || !isTrusted(info) && (info.Mode()&os.ModeSticky == 0 || !isOwned(info)) {
				return false
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return true
}

// forManager are the variables that a service manager sets for one process. What is checked
// is another one, and must not use up what they are for.
var forManager = []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", Variable}

// environmentWithout returns the environment of this process without some variables.
func environmentWithout(names ...string) (environment []string) {
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		without := false
		for _, n := range names {
			without = without || n == name
		}
		if !without {
			environment = append(environment, entry)
		}
	}
	return environment
}

// checkConfiguration runs the program's check, and returns its message if that fails.
func (c *Command) checkConfiguration(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, Timeouts.Check)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.Path)
	cmd.Args = append(append([]string{}, c.Args...), "--check")
	cmd.Env = environmentWithout(forManager...)
	cmd.WaitDelay = time.Second // processes that it has started may have its output
	inOwnGroup(cmd)
	var messages tail
	cmd.Stderr = &messages
	err := startMasked(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	switch {
	case ctx.Err() == context.DeadlineExceeded:
		return errNotAnswered
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		return nil
	}
	if text := messages.errors(); text != "" {
		return fmt.Errorf("the new program does not accept the configuration: %s", text)
	}
	return fmt.Errorf("the new program cannot check the configuration: %w", err)
}

// tail keeps the end of what is written to it.
type tail struct{ b []byte }

const maxTail = 8 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.b = append(t.b, b...)
	t.b = t.b[max(0, len(t.b)-maxTail):]
	return len(b), nil
}

// errors returns the lines of mtwire's errors as one, and if there are none, the last line.
func (t *tail) errors() string {
	var all []string
	last := ""
	for line := range bytes.Lines(t.b) {
		line := strings.TrimSpace(string(line))
		if text, ok := strings.CutPrefix(line, "mtwire: "); ok {
			all = append(all, text)
		}
		last = cmp.Or(line, last)
	}
	return cmp.Or(strings.Join(all, "; "), last)
}
