package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// openTerminal returns both ends of a pseudo-terminal with a size in characters.
func openTerminal(width, height uint16) (near, far *os.File, err error) {
	if near, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		return nil, nil, err
	}
	fd := int(near.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: width, Row: height})
	}
	if err == nil {
		far, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		near.Close()
	}
	return near, far, err
}

// onTerminal WIDTHxHEIGHT mtwire ARGS... runs mtwire with a terminal of that size as
// standard output and standard error. What it shows goes to the file screen.
func onTerminal(ts *testscript.TestScript, neg bool, args []string) {
	var width, height uint16
	if _, err := fmt.Sscanf(args[0], "%dx%d", &width, &height); err != nil {
		ts.Fatalf("%v", err)
	}
	near, far, err := openTerminal(width, height)
	ts.Check(err)
	defer near.Close()
	bin, _, _ := strings.Cut(ts.Getenv("PATH"), string(filepath.ListSeparator))
	cmd := exec.Command(filepath.Join(bin, args[1]), args[2:]...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = far, far, ts.Getenv("WORK")
	for _, name := range []string{"PATH", "TERM", "NO_COLOR", "LANG", "COLUMNS", "LINES", "STATE_DIRECTORY"} {
		if value := ts.Getenv(name); value != "" {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	ts.Check(cmd.Start())
	far.Close()
	shown, _ := io.ReadAll(near) // the end of a terminal is an error
	err = cmd.Wait()
	if (err != nil) != neg {
		ts.Fatalf("%v\n%s", err, shown)
	}
	ts.Check(os.WriteFile(ts.MkAbs("screen"), shown, 0o600))
}

func init() { scriptCommands["onterminal"] = onTerminal }
