//go:build unix

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/loopback"
)

// contains reports whether the file has text.
func contains(path, text string) bool {
	b, err := os.ReadFile(path)
	return err == nil && bytes.Contains(b, []byte(text))
}

// SIGHUP ends neither the server nor its connections. It opens the log file again, so
// that a renamed one gets no more lines.
func TestHangupReopensTheLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	var stderr bytes.Buffer
	s := startServer(t, func(cmd *exec.Cmd) { cmd.Stderr = &stderr }, "--log-file", path)
	conn := s.connect(t)
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	s.Process.Signal(syscall.SIGHUP)
	eventually(t, "a new file", func() bool { return contains(path, `msg="reopened the log file"`) })
	receiveResPQ(t, conn)
	conn.Close()
	eventually(t, "a line", func() bool { return contains(path, "msg=closed") })
	if err := s.stop(t, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if !contains(path+".1", "msg=limits") || contains(path+".1", "reopened") || contains(path, "msg=limits") {
		t.Error("lines are in the wrong file")
	}
	if text := stderr.String(); strings.Contains(text, "level=") {
		t.Errorf("the log is on standard error: %s", text)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("others may read the log: %v, %v", info.Mode(), err)
	}
}

// SIGHUP does not end a relay, either, and opens its log file again.
func TestHangupReopensTheLogOfARelay(t *testing.T) {
	address, err := loopback.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "log")
	s := startCommand(t, address, nil, "mtwire", "relay", "--listen", address, "--to", "tcp://"+startDataCenter(t), "--log-file", path)
	conn := s.connect(t)
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	s.Process.Signal(syscall.SIGHUP)
	eventually(t, "a new file", func() bool { return contains(path, `msg="reopened the log file"`) })
	receiveResPQ(t, conn)
	conn.Close()
	eventually(t, "a line", func() bool { return contains(path, "msg=relayed") })
	if err := s.stop(t, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}

// If the log file cannot be opened again, the log goes on in the old one.
func TestFailedReopeningKeepsTheLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	s := startServer(t, nil, "--log-file", path)
	s.ask(t)
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	s.Process.Signal(syscall.SIGHUP)
	eventually(t, "an error", func() bool {
		return contains(path+".1", `level=ERROR msg="the log file cannot be opened again, the old one stays in use"`)
	})
	s.ask(t)
	if err := s.stop(t, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}

// SIGHUP reads the file of secrets again. An invalid one changes nothing, and the error
// does not quote it.
func TestHangupReadsTheSecretsAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secrets, log := filepath.Join(dir, "secrets"), filepath.Join(dir, "log")
	const bob, carol = "dd101112131415161718191a1b1c1d1e1f", "dd202122232425262728292a2b2c2d2e2f"
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(secrets, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("bob=" + bob)
	s := startServer(t, nil, "--secrets", secrets, "--watch=false", "--log-file", log)
	conn := s.connect(t)
	if !s.serves(t, bob) {
		t.Error("bob is not served")
	}
	write("carol=" + carol)
	s.Process.Signal(syscall.SIGHUP)
	eventually(t, "a line", func() bool { return contains(log, `msg="read the configuration again" users=2`) })
	if !s.serves(t, carol) || !s.refuses(t, bob) {
		t.Error("the users are not those of the file")
	}
	write("carol=" + carol[2:10])
	s.Process.Signal(syscall.SIGHUP)
	eventually(t, "an error", func() bool { return contains(log, `level=ERROR msg="the secrets cannot be read again`) })
	if !s.serves(t, carol) || contains(log, carol[2:10]) {
		t.Error("an invalid file has an effect")
	}
	receiveResPQ(t, conn)
	if err := s.stop(t, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}

// SIGHUP reads the configuration file again: its settings are put in force, and what needs
// a restart is named. A file that is wrong changes nothing, and the log has each error
// with its position. A session of a user that stays goes on, also if the user has a
// further secret and other limits.
func TestHangupReadsTheConfigurationAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, log := filepath.Join(dir, "mtwire.toml"), filepath.Join(dir, "log")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	user := func(name, secret string) string {
		return "[[user]]\nname = '" + name + "'\nsecret = '" + secret + "'\n"
	}
	const bob, carol = "dd101112131415161718191a1b1c1d1e1f", "dd202122232425262728292a2b2c2d2e2f"
	write(user("bob", bob))
	s := startServer(t, nil, "--config", file, "--watch=false", "--log-file", log)
	conn := s.connect(t)
	if !s.serves(t, bob) {
		t.Error("bob is not served")
	}
	write("drain = 7\nlog_level = 'debug'\nmetrics_users = 7\nstate = '" + dir + "'\n" + user("carol", carol))
	s.Process.Signal(syscall.SIGHUP)
	eventually(t, "a line", func() bool { return contains(log, `need a restart" keys=state,metrics_users`) })
	if !s.serves(t, carol) || !s.refuses(t, bob) {
		t.Error("the users are not those of the file")
	}
	changed, err := mtwire.Dial(t.Context(), "tcp://"+s.address+"?secret="+carol, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer changed.Close()
	receiveResPQ(t, changed)
	write(user("carol", carol) + "secrets = ['" + bob + "']\nmax_connections = 9\nquota = '1 GiB'\n")
	s.Process.Signal(syscall.SIGHUP)
	s.awaitServing(t, "a new secret of the user", bob)
	receiveResPQ(t, changed)
	write("drian = 7\n" + user("carol", carol[2:10]))
	s.Process.Signal(syscall.SIGHUP)
	eventually(t, "errors", func() bool {
		return contains(log, `mtwire.toml:1:1: unknown key \"drian\": did you mean drain?`) && contains(log, `mtwire.toml:4:10: user[0].secret: bad secret`)
	})
	write(user("carol", carol) + user("carol", bob))
	s.Process.Signal(syscall.SIGHUP)
	eventually(t, "an error", func() bool { return contains(log, `mtwire.toml:5:1: user[1].name: `) })
	if !s.serves(t, carol) || contains(log, carol[2:10]) {
		t.Error("an invalid file has an effect")
	}
	receiveResPQ(t, conn)
	if err := s.stop(t, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}

// Without files SIGHUP does nothing.
func TestHangupDoesNotEndTheServer(t *testing.T) {
	t.Parallel()
	s := startServer(t, nil)
	conn := s.connect(t)
	for range 3 {
		s.Process.Signal(syscall.SIGHUP)
		receiveResPQ(t, conn)
	}
	s.ask(t)
	if err := s.stop(t, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}
