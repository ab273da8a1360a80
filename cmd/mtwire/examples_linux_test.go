package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/mtwire/mtwire/internal/service"
	"github.com/spf13/cobra"
)

// Examples of the documents and of the help run as they are printed, in namespaces of
// their own: a network with the addresses that the examples have, on which no port is
// taken, and an /etc/hosts in which the examples' domain is this machine's.
const (
	namespaceVariable = "MTWIRE_TEST_NAMESPACE"
	exampleAddress    = "203.0.113.1"
	exampleDomain     = "www.example.org"
)

// inNamespaces runs the test that calls it again, in a process with namespaces of its
// own, and reports whether this is that process.
func inNamespaces(t *testing.T) bool {
	t.Helper()
	if os.Getenv(namespaceVariable) != "" {
		setUpNamespaces(t)
		return true
	}
	t.Parallel()
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), namespaceVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		t.Skipf("this system does not allow namespaces: %v", err)
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// setUpNamespaces gives the loopback interface its addresses and the machine a name.
func setUpNamespaces(t *testing.T) {
	t.Helper()
	hosts := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(hosts, []byte("127.0.0.1 localhost\n"+exampleAddress+" "+exampleDomain+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(socket)
	err = errors.Join(
		syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""),
		syscall.Mount(hosts, "/etc/hosts", "", syscall.MS_BIND, ""),
		configure(socket, syscall.SIOCSIFFLAGS, "lo", []byte{syscall.IFF_UP | syscall.IFF_LOOPBACK, 0}),
		configure(socket, syscall.SIOCSIFADDR, "lo:1", append([]byte{syscall.AF_INET, 0, 0, 0}, net.ParseIP(exampleAddress).To4()...)),
	)
	if err != nil {
		t.Fatal(err)
	}
}

// configure changes an interface: ioctl with a struct ifreq of a name and a value.
// Specification: https://man7.org/linux/man-pages/man7/netdevice.7.html
func configure(socket int, request uintptr, name string, value []byte) error {
	var ifreq [40]byte
	copy(ifreq[:syscall.IFNAMSIZ], name)
	copy(ifreq[syscall.IFNAMSIZ:], value)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(socket), request, uintptr(unsafe.Pointer(&ifreq))); errno != 0 {
		return fmt.Errorf("%s: %w", name, errno)
	}
	return nil
}

// examples are commands that belong together, such as a proxy and what connects to it.
type examples struct {
	source   string
	commands []string
}

// shellBlock matches the text of a block of shell commands in Markdown.
var shellBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")

// allExamples returns the examples of the documents, and of the help of all commands.
func allExamples(t *testing.T) (all []examples) {
	t.Helper()
	documents, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, document := range append(documents, "../../README.md") {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range shellBlock.FindAllStringSubmatch(string(text), -1) {
			all = append(all, examples{document, commandsOf(block[1])})
		}
	}
	var add func(cmd *cobra.Command)
	add = func(cmd *cobra.Command) {
		all = append(all, examples{cmd.CommandPath() + " --help", commandsOf(cmd.Example)})
		for _, sub := range cmd.Commands() {
			add(sub)
		}
	}
	add(rootCommand())
	return all
}

// commandsOf returns the lines of text that run mtwire, each with the lines that
// continue it, as commands of the shell.
func commandsOf(text string) (commands []string) {
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
		line = strings.TrimSuffix(strings.TrimSpace(line), " &")
		line = strings.Replace(line, "go run github.com/mtwire/mtwire/cmd/mtwire@latest ", "mtwire ", 1)
		if rest, ok := strings.CutPrefix(line, "go run ./cmd/"); ok {
			line = rest // the same from a checkout
		}
		if strings.HasPrefix(line, "mtwire ") {
			commands = append(commands, line)
		}
	}
	return commands
}

// process is an example that serves until it is stopped.
type process struct {
	cmd *exec.Cmd
	end chan error

	mu  sync.Mutex
	log bytes.Buffer
}

// Write adds to the log.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

// logged reports whether text is in the log.
func (p *process) logged(text string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Contains(p.log.String(), text)
}

// serve starts an example, and returns when it listens.
func serve(t *testing.T, command, dir string) *process {
	t.Helper()
	p := &process{cmd: exec.Command("sh", "-c", "exec "+command), end: make(chan error, 1)}
	p.cmd.Dir = dir
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill() })
	listening := make(chan bool, 1)
	go func() {
		lines := bufio.NewScanner(io.TeeReader(stderr, p))
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "listening on ") {
				select {
				case listening <- true:
				default: // it has several addresses, or was upgraded
				}
			}
		}
		close(listening)
		p.end <- p.cmd.Wait()
	}()
	select {
	case <-listening:
	case <-time.After(patience):
		t.Fatalf("%s: does not listen", command)
	}
	return p
}

// stop ends the example as a terminal does, and returns its log.
func (p *process) stop(t *testing.T) string {
	t.Helper()
	p.cmd.Process.Signal(os.Interrupt)
	late := time.AfterFunc(patience, func() { p.cmd.Process.Signal(syscall.SIGQUIT) }) // the log has what it does
	defer late.Stop()
	if err := <-p.end; err != nil {
		t.Errorf("%v: %v\n%s", p.cmd.Args, err, p.log.String())
	}
	return p.log.String()
}

// runExample runs an example that ends, and returns what it writes. One that does not is ended,
// with what it has started.
func runExample(t *testing.T, command, dir string) ([]byte, error) {
	const limit = 3 * patience // some are a dozen measurements
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = fmt.Errorf("does not end within %v: %w", limit, err)
	}
	return out, err
}

// benchDuration matches the duration of a benchmark's phases.
var benchDuration = regexp.MustCompile(` --seconds \d+`)

// shorter returns a command that takes less time than the printed one, with the
// process of the server that runs.
func shorter(command string, server *process) string {
	if server != nil {
		pid := strconv.Itoa(server.cmd.Process.Pid)
		command = strings.NewReplacer("$!", pid, "$(pidof mtwire)", pid).Replace(command)
	}
	if rest, ok := strings.CutPrefix(command, "mtwire bench "); ok {
		rest = benchDuration.ReplaceAllString(rest, "")
		return "mtwire bench --seconds 0.05 --idle 0 --chat-connections 10 --chat-interval 20ms --churn-rate 50 --paced-connections 2 " + rest
	}
	return command
}

// exampleFiles are the files that examples name.
var exampleFiles = map[string]string{
	"admin-token": "000102030405060708090a0b0c0d0e0f\n",
	"secrets":     "alice=dd000102030405060708090a0b0c0d0e0f\n",
	"telemt.toml": "[general]\n[access.users]\nalice = '000102030405060708090a0b0c0d0e0f'\n[censorship]\ntls_domain = 'www.example.org'\n",
	"mtwire.toml": "[[user]]\nname = 'alice'\nsecret = 'dd000102030405060708090a0b0c0d0e0f'\n",
}

// before returns the commands that the examples of a source take for granted: those of
// mtwire user have a proxy, and those that change users, these.
func before(source string) []string {
	switch verb, ok := strings.CutPrefix(source, "mtwire user "); {
	case source == "mtwire upgrade --help":
		return []string{"mtwire proxy"}
	case !ok:
		return nil
	case verb == "--help", verb == "add --help":
		return []string{"mtwire proxy"}
	}
	return []string{"mtwire proxy", "mtwire user add alice bob"}
}

// upgradedTo matches the number of the process in what mtwire upgrade prints.
var upgradedTo = regexp.MustCompile(`(?:"pid": |process )(\d+)`)

// Each example is carried out, and none has the proxy as its own fronting host. A
// server runs until the next server of the block starts; other commands take less
// time than printed.
func TestExamplesRunAsPrinted(t *testing.T) {
	if !inNamespaces(t) {
		return
	}
	tried, demonstrated := 0, false
	for _, block := range allExamples(t) {
		dir := t.TempDir()
		t.Setenv("STATE_DIRECTORY", filepath.Join(dir, "state"))
		for name, text := range exampleFiles {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var server *process
		serving := 0
		stop := func() {
			if server == nil {
				return
			}
			if log := server.stop(t); strings.Contains(log, "itself") || strings.Contains(log, "level=ERROR") {
				t.Errorf("%s: %v:\n%s", block.source, server.cmd.Args, log)
			}
			server = nil
		}
		for i, command := range append(before(block.source), block.commands...) {
			if i >= len(before(block.source)) {
				tried++
			}
			if strings.HasPrefix(command, "mtwire proxy ") || command == "mtwire proxy" || strings.HasPrefix(command, "mtwire dc") || strings.HasPrefix(command, "mtwire relay ") {
				stop()
				server = serve(t, command, dir)
				continue
			}
			if command == "mtwire demo" && demonstrated {
				continue // nothing around it has an effect on it
			}
			demonstrated = demonstrated || command == "mtwire demo"
			out, err := runExample(t, shorter(command, server), dir)
			if err != nil {
				t.Errorf("%s: %s: %v\n%s", block.source, command, err, out)
			}
			if found := upgradedTo.FindStringSubmatch(string(out)); found != nil {
				serving, _ = strconv.Atoi(found[1])
			}
		}
		if serving > 0 { // a process that took over
			syscall.Kill(serving, syscall.SIGTERM)
		}
		stop()
	}
	if tried < 10 {
		t.Errorf("only %d examples were found", tried)
	}
}

// A domain that resolves to this machine, without a site at an address of its own, is
// warned of at the start.
func TestDomainOfThisMachineIsWarnedOf(t *testing.T) {
	if !inNamespaces(t) {
		return
	}
	t.Setenv("STATE_DIRECTORY", t.TempDir())
	for flags, warned := range map[string]bool{
		"--listen :443":                                  true,
		"--listen " + exampleAddress + ":443":            true,
		"--listen :443 --front 127.0.0.2:443":            true,
		"--listen :8443":                                 false,
		"--listen :443 --front unix:/nowhere":            false,
		"--listen 203.0.113.1:443 --front 127.0.0.2:443": false,
	} {
		p := serve(t, "mtwire proxy --verbose --domain "+exampleDomain+" "+flags, ".")
		eventually(t, "the check", func() bool { return p.logged("is this proxy itself") || p.logged("no fronting host is this proxy") })
		if log := p.stop(t); strings.Contains(log, "is this proxy itself") != warned {
			t.Errorf("%s: %s", flags, log)
		}
	}
}

// A site of the examples is not at the port that the proxy listens on by default.
func TestSitesOfExamplesHaveAnotherPort(t *testing.T) {
	text, err := os.ReadFile("../../docs/proxy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(service.Default().Listen[0].Address)
	fronts := regexp.MustCompile(`--front '?[^\s']+`).FindAllString(string(text), -1)
	if len(fronts) < 5 {
		t.Errorf("only %d are found", len(fronts))
	}
	for _, front := range fronts {
		if strings.Contains(front, ":"+port) {
			t.Error(front)
		}
	}
}
