// Recorder runs a client's cases against a listener, and writes the bytes of their
// connections as test vectors. interop/record calls it.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/mtwire/mtwire/mtwiretest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) != 6 {
		fmt.Fprintln(os.Stderr, "usage: recorder CLIENT VERSION SOURCE INSTALLED DATA")
		os.Exit(2)
	}
	c := client{name: os.Args[1], version: os.Args[2], source: os.Args[3], installed: os.Args[4]}
	if err := c.record(ctx, os.Args[5]); err != nil {
		fmt.Fprintf(os.Stderr, "recorder: %s: %v\n", c.name, err)
		os.Exit(1)
	}
}

// client is an installed client of clients/.
type client struct{ name, version, source, installed string }

// testCase has the fields of a client's case that the recorder needs.
type testCase struct {
	Name   string `json:"name"`
	Secret string `json:"secret"`
	Scheme string `json:"scheme"`
	Record string `json:"record"` // the end of the vector's name
}

// secrets are the clients' secrets, by their names in cases. They are used on
// loopback only.
var secrets = map[string]string{
	"":      "",
	"none":  "",
	"plain": mtwiretest.PlainSecret,
	"dd":    mtwiretest.PaddedSecret,
	"ee":    mtwiretest.FakeTLSSecret,
}

// record runs all cases that have a record field, and writes their vectors to the
// directory data.
func (c client) record(ctx context.Context, data string) error {
	text, err := os.ReadFile(filepath.Join(c.source, "cases"))
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		var t testCase
		if err := json.Unmarshal(lines.Bytes(), &t); err != nil {
			return err
		}
		if t.Record == "" {
			continue
		}
		s, err := c.recordCase(ctx, t, lines.Text())
		if err != nil {
			return fmt.Errorf("%s: %w", t.Name, err)
		}
		name := filepath.Join(data, c.name+"-"+t.Record+".txt")
		if err := os.MkdirAll(data, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, []byte(s.vector(c, t)), 0o644); err != nil {
			return err
		}
		fmt.Printf("%s-%s: received %d bytes, sent %d\n", c.name, t.Record, len(s.received), len(s.sent))
	}
	return lines.Err()
}

// attempts is how often a case is run until the client's clock is recordable,
// which one second in four is.
const attempts = 60

// recordCase runs one case until it is recordable, and returns its session.
func (c client) recordCase(ctx context.Context, t testCase, line string) (*session, error) {
	for range attempts {
		s, err := c.try(ctx, t, line)
		if err != nil || !s.transport.FakeTLS || recordable(s.clock) {
			return s, err
		}
	}
	return nil, errors.New("the client's clock was never recordable")
}

// recordable reports whether the bits 0 and 6 of a hello's clock are 0, so that
// the clock is later if a test of the vectors flips one of them. The vector's
// server clock is 120 seconds behind, so the hello is at the limit of the window
// and a later clock is rejected.
func recordable(clock time.Time) bool { return clock.Unix()&0x41 == 0 }

// driveTimeout is enough for the slowest client, which opens a window.
const driveTimeout = 150 * time.Second

// try runs one case once.
func (c client) try(ctx context.Context, t testCase, line string) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, driveTimeout)
	defer cancel()
	home, err := os.MkdirTemp("", "record-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(home)
	server, err := startServer(secrets[t.Secret])
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(c.source, "drive"), c.installed, server.url(t), line)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LANG=" + os.Getenv("LANG"), "HOME=" + home, "TMPDIR=" + home}
	cmd.Dir = home
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	output, err := cmd.CombinedOutput()
	if cmd.Process != nil {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what is left of its group
	}
	s := server.stop()
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %s", err, strings.TrimSpace(string(output)))
	case s == nil:
		return nil, errors.New("no connection was answered")
	}
	return s, nil
}
