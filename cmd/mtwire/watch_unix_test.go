//go:build unix

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// countLines returns how many lines of a log contain what.
func countLines(t *testing.T, log, what string) (n int) {
	t.Helper()
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, what) {
			n++
		}
	}
	return n
}

const watchedBob, watchedCarol = "dd101112131415161718191a1b1c1d1e1f", "dd202122232425262728292a2b2c2d2e2f"

// The configuration file is read again when it changes: by sed -i, which renames, and by
// a write in place. A file that is wrong changes nothing, has its errors in the log once,
// and the next one is read. So is a file that the configuration names.
func TestTheConfigurationFileIsWatched(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, secret, log := filepath.Join(dir, "mtwire.toml"), filepath.Join(dir, "secret"), filepath.Join(dir, "log")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text := "[[user]]\nname = 'bob'\nsecret = '" + watchedBob + "'\n"
	write(file, text)
	write(secret, watchedCarol+"\n")
	s := startServer(t, patient, "--config", file, "--log-file", log)
	conn := s.connect(t) // once it listens
	if !s.serves(t, watchedBob) {
		t.Error("bob is not served")
	}
	if out, err := exec.Command("sed", "-i.orig", "s/"+watchedBob+"/"+watchedCarol+"/", file).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s.awaitServing(t, "the secret that sed has written", watchedCarol)
	write(file, "drian = 7\n"+text)
	eventually(t, "an error", func() bool { return contains(log, `mtwire.toml:1:1: unknown key \"drian\"`) })
	if !s.serves(t, watchedCarol) || !s.refuses(t, watchedBob) {
		t.Error("a file that is wrong has an effect")
	}
	write(file, text)
	s.awaitServing(t, "the file before", watchedBob)
	if n := countLines(t, log, "cannot be read again"); n != 1 {
		t.Errorf("%d lines about the wrong file", n)
	}
	write(file, "[[user]]\nname = 'bob'\nsecret_file = 'secret'\n")
	s.awaitServing(t, "the secret of the file", watchedCarol)
	write(secret, watchedBob+"\n")
	s.awaitServing(t, "the other secret of the file", watchedBob)
	receiveResPQ(t, conn)
	conn.Close()
	if err := s.stop(t, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if n := countLines(t, log, "read the configuration again"); n != 4 {
		t.Errorf("the configuration was read again %d times", n)
	}
}

// A ConfigMap of Kubernetes is a directory of links through a link that is replaced.
func TestAReplacedLinkIsAChange(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	version := func(name, secret string) {
		t.Helper()
		path := filepath.Join(dir, name)
		for _, err := range []error{
			os.Mkdir(path, 0o700),
			os.WriteFile(filepath.Join(path, "mtwire.toml"), []byte("block = ['block']\n[[user]]\nname = 'bob'\nsecret = '"+secret+"'\n"), 0o600),
			os.WriteFile(filepath.Join(path, "block"), []byte("192.0.2.0/24\n"), 0o600),
			os.Symlink(name, filepath.Join(dir, "..data_tmp")),
			os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	version("..1", watchedBob)
	for _, name := range []string{"mtwire.toml", "block"} {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	s := startServer(t, patient, "--config", filepath.Join(dir, "mtwire.toml"), "--log-file", log)
	s.ask(t) // so that it has read the first version
	version("..2", watchedCarol)
	if err := os.RemoveAll(filepath.Join(dir, "..1")); err != nil {
		t.Fatal(err)
	}
	s.awaitServing(t, "the secret of the other version", watchedCarol)
	eventually(t, "a line", func() bool { return contains(log, "read the configuration again") })
	if n := countLines(t, log, "read the configuration again"); n != 1 {
		t.Errorf("the configuration was read again %d times", n)
	}
}

// With watch = false a change waits for SIGHUP, which may turn the key on.
func TestWatchIsTurnedOffAndOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, log := filepath.Join(dir, "mtwire.toml"), filepath.Join(dir, "log")
	write := func(head, secret string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(head+"[[user]]\nname = 'bob'\nsecret = '"+secret+"'\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("watch = false\n", watchedBob)
	s := startServer(t, patient, "--config", file, "--log-file", log)
	s.ask(t) // so that it has read the file
	write("", watchedCarol)
	during(1500 * time.Millisecond) // it is to have no effect
	if contains(log, "read the configuration again") {
		t.Fatal("the file was read")
	}
	s.Process.Signal(syscall.SIGHUP)
	s.awaitServing(t, "the file", watchedCarol)
	write("", watchedBob)
	s.awaitServing(t, "the file, which is watched", watchedBob)
}

// A file that would end watching and is wrong is not in force: the next one is read.
func TestAFileThatIsWrongDoesNotEndWatching(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, log := filepath.Join(dir, "mtwire.toml"), filepath.Join(dir, "log")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("[[user]]\nname = 'bob'\nsecret = '" + watchedBob + "'\n")
	s := startServer(t, patient, "--config", file, "--log-file", log)
	s.ask(t) // so that it has read the file
	write("watch = false\n[[user]]\nname = 'bob'\nsecret_file = 'missing'\n")
	eventually(t, "an error", func() bool { return contains(log, "missing: no such file") })
	write("[[user]]\nname = 'bob'\nsecret = '" + watchedCarol + "'\n")
	s.awaitServing(t, "the secret of the next file", watchedCarol)
}
