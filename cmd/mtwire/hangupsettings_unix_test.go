//go:build unix

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/mtwiretest"
)

// SIGHUP puts listeners, data centres, upstreams, sites and limits of the configuration
// file in force, also many times a second: sessions go on, clients connect to the new
// address at the new data centre, and no descriptor of those before is left.
func TestHangupReplacesListenersAndTheRest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "mtwire.toml")
	var addresses, dcs [2]string
	for i := range addresses {
		var err error
		if addresses[i], err = loopback.FreeAddress(); err != nil {
			t.Fatal(err)
		}
		dcs[i] = startDataCenter(t)
	}
	write := func(i int) { // as editors that rename
		text := fmt.Sprintf("listen = ['%s']\ndc = ['*=%s']\nmax_unauthenticated = %d\nmodes = 'dd,ee'\nprobe = false\n"+
			"domain = 'site%d.example'\nfront = ['%s']\nupstream = ['direct', 'direct?weight=%d']\ndial_timeout = '%ds'\n",
			addresses[i%2], dcs[i%2], 100+i%3, i%2, dcs[i%2], 1+i%4, 1+i%5)
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write(0)
	s := startCommand(t, addresses[0], nil, "mtwire", "proxy", "--config", file, "--watch=false")
	answers := func(i int) bool {
		return askOnce(t.Context(), "tcp://"+addresses[i]+"?secret="+mtwiretest.PaddedSecret) == nil
	}
	eventually(t, "the first address answers", func() bool { return answers(0) })
	s.address = addresses[0]
	conn := s.connect(t)
	descriptors := func() int {
		entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.Process.Pid)) // none elsewhere
		return len(entries)
	}
	before := descriptors()
	for i := range 200 {
		write(i + 1)
		if err := s.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		if i%4 == 0 {
			receiveResPQ(t, conn)
		}
		time.Sleep(time.Millisecond)
	}
	write(1)
	s.Process.Signal(syscall.SIGHUP)
	eventually(t, "the second address answers, and the first refuses", func() bool { return answers(1) && !answers(0) })
	receiveResPQ(t, conn)
	const probes = 3 // connections that measure the present site
	eventually(t, "no descriptor is left", func() bool { return descriptors() <= before+probes })
	if err := s.stop(t, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}

// SIGHUP changes the level of the log, unless --verbose overrides it.
func TestHangupChangesTheLevelOfTheLog(t *testing.T) {
	t.Parallel()
	for _, verbose := range []bool{false, true} {
		dir := t.TempDir()
		file, log := filepath.Join(dir, "mtwire.toml"), filepath.Join(dir, "log")
		write := func(text string) {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("")
		s := startServer(t, nil, "--config", file, "--watch=false", "--log-file", log, fmt.Sprintf("--verbose=%t", verbose))
		s.ask(t)
		logged := func() int {
			text, _ := os.ReadFile(log)
			return strings.Count(string(text), `msg="read the configuration again"`)
		}
		s.Process.Signal(syscall.SIGHUP)
		eventually(t, "a line", func() bool { return logged() == 1 })
		const bob = "dd101112131415161718191a1b1c1d1e1f"
		write("log_level = 'error'\n[[user]]\nname = 'bob'\nsecret = '" + bob + "'\n")
		s.Process.Signal(syscall.SIGHUP)
		s.awaitServing(t, "the user", bob)
		write("drian = 7\n")
		s.Process.Signal(syscall.SIGHUP)
		eventually(t, "an error", func() bool { return contains(log, "drian") })
		if want := map[bool]int{false: 1, true: 2}[verbose]; logged() != want {
			t.Errorf("verbose %t: %d lines of level info, want %d", verbose, logged(), want)
		}
	}
}

// SIGHUP in the first moments of a process, before the packages are initialized that take long,
// does not end it: it is held for the reload, also if there are flags before the command.
func TestHangupBeforeTheStartIsHeld(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"proxy --listen", "relay --to tcp --listen", "--log-level debug proxy --listen", "--to=tcp relay --listen"} {
		address, err := loopback.FreeAddress()
		if err != nil {
			t.Fatal(err)
		}
		var stderr io.ReadCloser
		s := startCommand(t, address, func(cmd *exec.Cmd) {
			cmd.Env = append(cmd.Env, "GODEBUG=inittrace=1")
			if stderr, err = cmd.StderrPipe(); err != nil {
				t.Fatal(err)
			}
		}, append(strings.Fields("mtwire "+command), address)...)
		lines := bufio.NewScanner(stderr)
		hold, heavy, reloads := false, false, 0
		for reloads == 0 && lines.Scan() {
			switch line := lines.Text(); {
			case strings.HasPrefix(line, "init github.com/mtwire/mtwire/internal/hangup "):
				hold = true
				s.Process.Signal(syscall.SIGHUP)
				if heavy {
					t.Error("other packages are initialized before")
				}
			case strings.HasPrefix(line, "init github.com/prometheus/") || strings.HasPrefix(line, "init github.com/mtwire/"):
				heavy = true
			case strings.Contains(line, "SIGHUP: n"):
				reloads++
			}
		}
		if !hold {
			t.Error("the signal was not sent")
		}
		if reloads == 0 {
			t.Errorf("%s: no reload", command)
		}
		go io.Copy(io.Discard, stderr)
		if err := s.stop(t, syscall.SIGTERM); err != nil {
			t.Error(err)
		}
	}
}

// SIGHUP reads the endpoints and the secrets of a relay again. A file that is wrong changes nothing,
// and connections go on.
func TestHangupReadsTheFilesOfARelayAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secrets, to, log := filepath.Join(dir, "secrets"), filepath.Join(dir, "to"), filepath.Join(dir, "log")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const bob, carol = "dd101112131415161718191a1b1c1d1e1f", "dd202122232425262728292a2b2c2d2e2f"
	write(secrets, "bob="+bob)
	write(to, "tcp://"+startDataCenter(t))
	address, err := loopback.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	s := startCommand(t, address, nil, "mtwire", "relay", "--listen", address, "--secrets", secrets, "--to-file", to, "--log-file", log)
	conn := s.connect(t)
	served := func(secret string) bool { return s.serves(t, secret) }
	if !served(bob) {
		t.Error("bob is not served")
	}
	next := startDataCenter(t)
	write(secrets, "carol="+carol)
	write(to, "tcp://"+next)
	s.Process.Signal(syscall.SIGHUP)
	eventually(t, "a line", func() bool { return contains(log, `msg="read the secrets again"`) })
	if !served(carol) || !contains(log, `msg="read the endpoints again"`) {
		t.Error("the secrets are not those of the file")
	}
	eventually(t, "the next server", func() bool { return contains(log, "tcp://"+next) })
	if askWithin(t.Context(), 500*time.Millisecond, "tcp://"+address+"?secret="+bob) == nil {
		t.Error("bob is served")
	}
	write(secrets, "carol="+carol[2:10])
	write(to, "tcp://wr0ng!:1")
	s.Process.Signal(syscall.SIGHUP)
	eventually(t, "errors", func() bool {
		return contains(log, `msg="the secrets cannot be read again`) && contains(log, `msg="the endpoints cannot be read again`)
	})
	if !served(carol) || contains(log, carol[2:10]) {
		t.Error("files that are wrong have an effect")
	}
	receiveResPQ(t, conn)
	if err := s.stop(t, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}

// It ends a command that does not reload anything, and one that was started with the signal ignored,
// as nohup does, goes on.
func TestHangupBeforeTheStartEndsOtherCommands(t *testing.T) {
	t.Parallel()
	hangups := make(chan os.Signal, 1) // nohup may have started the tests: a shell cannot undo that
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	for _, ignored := range []bool{false, true} {
		command := "exec mtwire dc --listen 127.0.0.1:0"
		if ignored {
			command = "trap '' HUP; " + command
		}
		cmd := exec.Command("sh", "-c", command)
		cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer time.AfterFunc(patience, func() { cmd.Process.Kill() }).Stop()
		listens := false
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			switch line := lines.Text(); {
			case strings.HasPrefix(line, "init github.com/mtwire/mtwire/internal/hangup "):
				cmd.Process.Signal(syscall.SIGHUP)
			case strings.Contains(line, "listening on "):
				listens = true
				if ignored { // otherwise it might end the process first
					cmd.Process.Signal(syscall.SIGTERM)
				}
			}
		}
		err = cmd.Wait()
		by := cmd.ProcessState.Sys().(syscall.WaitStatus)
		switch {
		case ignored && (err != nil || !listens):
			t.Errorf("ignored: %v, listens: %t", err, listens)
		case !ignored && (!by.Signaled() || by.Signal() != syscall.SIGHUP):
			t.Errorf("not ignored: %v", err)
		}
	}
}
