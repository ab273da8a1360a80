//go:build unix

package main

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mtwire/mtwire/mtwiretest"
)

// warned matches the level and the text of a line of the log that is no mere information.
var warned = regexp.MustCompile(`level=(?:WARN|ERROR) msg="[^"]*"`)

// fromNetwork matches what a proxy that runs may warn of besides: what it is answered by others.
var fromNetwork = regexp.MustCompile(`there is no certificate yet|fronting host`)

// warningsIn returns what is warned of, each once, but what matches fromNetwork.
func warningsIn(log []byte) (texts []string) {
	texts = warned.FindAllString(string(log), -1)
	slices.Sort(texts)
	return slices.DeleteFunc(slices.Compact(texts), fromNetwork.MatchString)
}

// What the user of the proxy may not write is a warning or an error of --check as it is one of the
// start, in the same words. The proxy is run as another user than root, and in a test that is not
// root's as that user.
func TestCheckAndStartAgreeAboutRights(t *testing.T) {
	dir, err := os.MkdirTemp("", "rights") // which other users may enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program := filepath.Join(dir, "mtwire")
	copyTo(t, program)
	state := func(name string, parts ...string) string {
		path := filepath.Join(dir, name)
		for _, part := range append(parts, "") {
			if err := os.MkdirAll(filepath.Join(path, part), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for _, part := range append(parts, "") {
			if err := os.Chmod(filepath.Join(path, part), 0o555); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.Chmod(filepath.Join(path, part), 0o755) })
		}
		return path
	}
	empty, whole := state("empty"), state("whole", "replay", "store", "acme")
	blind := state("blind")
	if err := os.Chmod(blind, 0o333); err != nil { // files can be made there, and not be listed
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(dir, 0o755) })
	const (
		notRemembered = `level=WARN msg="handshakes are not kept, and are answered if they are replayed after a restart"`
		notCounted    = `level=WARN msg="the store is not written: ` +
			`users' usage is kept in memory, and is lost with the process"`
		noTokenKey = `level=WARN msg="the key of WEB sessions is not kept: ` +
			`after a restart, their requests reach the web site"`
		noNewCertificate = `level=WARN msg="certificates of the ACME server cannot be kept: ` +
			`one that is there goes on until it expires"`
		noAdmin = `level=WARN msg="there is no admin listener, which mtwire user needs: ` +
			`--admin unix:/PATH sets another address, and --admin off ends this warning"`
		noTakeover = `level=ERROR msg="no process can take over"`
	)
	const secret = "MTWIRE_SECRETS=" + mtwiretest.PlainSecret
	web := []string{"--admin", "off", "--web", "proxy.example.com", "--web-acme-directory", "https://127.0.0.1:9"}
	for name, test := range map[string]struct {
		byDefault string // the state directory
		secret    string // of the environment
		flags     []string
		failure   string // "" if the proxy starts
		warnings  []string
	}{
		"nothing can be made":    {"", secret, []string{"--state", empty}, "mtwire: --state: ", nil},
		"nor a generated secret": {empty, "", nil, "mtwire: --state: the generated secret cannot be kept: ", nil},
		"nor with a secret":      {empty, secret, nil, "", []string{noAdmin, notRemembered, notCounted}},
		"nor in what is there":   {"", secret, []string{"--state", whole}, "", []string{noAdmin, notRemembered, notCounted}},
		"nor for a web site": {whole, secret, web, "",
			[]string{notRemembered, notCounted, noTokenKey, noNewCertificate}},
		"nor a socket": {whole, secret, []string{"--listen", "unix:" + dir + "/s", "--public", "192.0.2.1:443"},
			"mtwire: --listen", nil},
		"nor the admin socket": {whole, secret, []string{"--admin", "unix"}, "mtwire: --admin", nil},
		"nor the socket of takeovers": {whole, secret, []string{"--admin", "off", "--takeover", dir + "/t"}, "",
			[]string{notRemembered, notCounted, noTakeover}},
		"nor the log": {whole, secret, []string{"--log-file", dir + "/log"}, "mtwire: --log-file: ", nil},
		"nor the QR code": {whole, secret, []string{"--qr", dir + "/code.png", "--public", "192.0.2.1:443"},
			"mtwire: --qr: ", nil},
		"what cannot be listed": {"", secret, []string{"--state", blind + "/state", "--log-file", blind + "/log"}, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			command := func(flags ...string) (*exec.Cmd, *bytes.Buffer) {
				flags = slices.Concat([]string{"proxy", "--listen", "127.0.0.1:0", "--probe=false"}, test.flags, flags)
				cmd := exec.Command(program, flags...)
				cmd.Dir, cmd.Env = "/", []string{"STATE_DIRECTORY=" + test.byDefault, test.secret}
				if os.Geteuid() == 0 {
					cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}}
				}
				log := new(bytes.Buffer)
				return cmd, log
			}
			compare := func(by string, log []byte, err error) {
				if (err != nil) != (test.failure != "") || !strings.Contains(string(log), test.failure) {
					t.Errorf("%s: %v, want %q\n%s", by, err, test.failure, log)
				}
				slices.Sort(test.warnings)
				if got := warningsIn(log); err == nil && !slices.Equal(got, test.warnings) {
					t.Errorf("%s: %q, want %q", by, got, test.warnings)
				}
			}
			check, log := command("--check")
			check.Stderr = log
			err := check.Run()
			compare("--check", log.Bytes(), err)

			start, log := command()
			output, err := start.StderrPipe()
			if err == nil {
				err = start.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			defer time.AfterFunc(patience, func() { start.Process.Kill() }).Stop()
			missing := append([]string{"listening on "}, test.warnings...)
			for lines := bufio.NewScanner(output); lines.Scan(); {
				log.WriteString(lines.Text() + "\n")
				before := len(missing)
				missing = slices.DeleteFunc(missing, func(text string) bool { return strings.Contains(lines.Text(), text) })
				if before > 0 && len(missing) == 0 {
					start.Process.Signal(syscall.SIGTERM)
				}
			}
			compare("the start", log.Bytes(), start.Wait())
		})
	}
}
