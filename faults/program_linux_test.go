package faults_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/tools/loadgen"
)

// program is a running mtwire proxy process.
type program struct {
	cmd     *exec.Cmd
	address string
	link    string
	ended   chan error // has the result of cmd.Wait, and is then closed

	mu  sync.Mutex
	log bytes.Buffer
}

// fileLimit is RLIMIT_NOFILE of a program. The zero value means the system's.
type fileLimit struct{ soft, hard int }

// startProgram runs mtwire proxy until the test ends. It listens on address; ""
// means any port of loopback.
func startProgram(t *testing.T, address string, files fileLimit, args ...string) *program {
	t.Helper()
	return startProgramWith(t, nil, address, files, args...)
}

// startProgramWith is startProgram with more variables in the environment.
func startProgramWith(t *testing.T, variables []string, address string, files fileLimit, args ...string) *program {
	t.Helper()
	if address == "" {
		address = "127.0.0.1:0"
	}
	args = append([]string{"proxy", "--print-links", "--listen", address}, args...)
	cmd := exec.Command(binary, args...)
	if files.hard > 0 {
		// Not by setrlimit in this process: the Go runtime restores the limit in
		// its children.
		script := fmt.Sprintf(`ulimit -Sn %d && ulimit -Hn %d && exec "$0" "$@"`, files.soft, files.hard)
		cmd = exec.Command("sh", append([]string{"-c", script, binary}, args...)...)
	}
	cmd.Env = append(os.Environ(), variables...)
	p := &program{cmd: cmd, ended: make(chan error, 1)}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(stderr)
	first, err := lines.ReadString('\n')
	for strings.HasPrefix(first, "time=") { // a line of the log
		io.WriteString(p, first)
		first, err = lines.ReadString('\n')
	}
	listenAddress, listening := strings.CutPrefix(strings.TrimSpace(first), "listening on ")
	link, linkErr := bufio.NewReader(stdout).ReadString('\n')
	var reading sync.WaitGroup
	reading.Go(func() { io.Copy(p, lines) })
	reading.Go(func() { io.Copy(io.Discard, stdout) })
	go func() {
		reading.Wait()
		p.ended <- cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("log of the program:\n%s", p.logTail())
		}
	})
	if err != nil || linkErr != nil || !listening {
		t.Fatalf("the program wrote %q, %v, %q, %v", first, err, link, linkErr)
	}
	p.address, p.link = listenAddress, strings.TrimSpace(link)
	return p
}

// Write adds to the program's log.
func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

// logged reports whether the log contains a text.
func (p *program) logged(text string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return bytes.Contains(p.log.Bytes(), []byte(text))
}

// afterLine returns a context that lasts for a time, and for as long as the log does not contain a
// text, but not for longer than testTimeout.
func (p *program) afterLine(t *testing.T, text string, least time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	go func() {
		for begin := time.Now(); ctx.Err() == nil && (time.Since(begin) < least || !p.logged(text)); {
			sleepUntil(ctx, 20*time.Millisecond)
		}
		cancel()
	}()
	return ctx, cancel
}

// logTail returns the last 4,000 bytes of the log.
func (p *program) logTail() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := p.log.String()
	return text[max(0, len(text)-4000):]
}

func (p *program) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// awaitEnd waits for the end of the program and returns its exit code, -1 after a
// signal.
func (p *program) awaitEnd(t *testing.T, within time.Duration) int {
	t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(within):
		t.Fatalf("the program is still running after %v", within)
		return 0
	}
}

// descriptors returns the number of the program's descriptors, and of the pipes
// among them.
func (p *program) descriptors() (all, pipes int) {
	return openFiles(strconv.Itoa(p.cmd.Process.Pid))
}

// idlePipes is how many pipes more than before the program may keep for the next
// transfers, until a collection closes them: it has one every two minutes.
const idlePipes = 32

// awaitDescriptors waits until the program has at most this many descriptors, and
// idlePipes.
func (p *program) awaitDescriptors(t *testing.T, most int) {
	t.Helper()
	eventually(t, fmt.Sprintf("no more than %d descriptors are open", most), func() bool {
		n, pipes := p.descriptors()
		return n <= most+min(pipes, idlePipes)
	})
}

// resident returns the resident memory that the program has to itself, in KiB: without the
// pages of its file, which the system has as long as it likes, and the proxy drops now and
// then.
func (p *program) resident(t *testing.T) int {
	t.Helper()
	for _, line := range strings.Split(p.read(t, "status"), "\n") {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "RssAnon:" {
			n, err := strconv.Atoi(fields[1])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("/proc has no line RssAnon for the program")
	return 0
}

// memory is what a program uses after a garbage collection, in bytes.
type memory struct{ heap, stacks, resident int64 }

func (m memory) String() string {
	const mib = 1 << 20
	return fmt.Sprintf("%.1f MiB of heap, %.1f MiB of stacks, %.1f MiB resident",
		float64(m.heap)/mib, float64(m.stacks)/mib, float64(m.resident)/mib)
}

// collect lets the program collect its garbage and return free memory to the system,
// and returns what is left. Without that, resident memory depends on when the collector
// ran last: it may have up to as much garbage as live bytes.
func (p *program) collect(t *testing.T) (m memory) {
	t.Helper()
	p.mu.Lock()
	before := p.log.Len()
	p.mu.Unlock()
	p.signal(t, syscall.SIGUSR1) // see testdata/collect.go
	eventually(t, "the program has collected its garbage", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for line := range bytes.Lines(p.log.Bytes()[before:]) {
			if n, _ := fmt.Sscanf(string(line), "in use: %d bytes of heap, %d bytes of stacks\n", &m.heap, &m.stacks); n == 2 {
				return true
			}
		}
		return false
	})
	m.resident = int64(p.resident(t)) << 10
	return m
}

// processorTime returns the processor time that the program has used.
func (p *program) processorTime(t *testing.T) time.Duration {
	t.Helper()
	stat := p.read(t, "stat")
	fields := strings.Fields(stat[strings.LastIndex(stat, ")")+1:]) // from the third field on
	ticks := 0
	for _, field := range fields[11:13] { // utime, stime
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// read returns a file of the program's /proc directory.
func (p *program) read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// flagsFor returns the flags for one data centre and the secret of m.
func flagsFor(m mode, dc *loadgen.DataCenter, host *frontingHost) []string {
	flags := []string{"--secret", m.secret, "--dc", "*=" + dc.Addr().String()}
	if m.name == "ee" {
		flags = append(flags, "--front", host.address())
	}
	return flags
}

// tryClient connects a client to the proxy at address. It returns an error unless
// the client is served within a time.
func tryClient(m mode, address string, within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	c, err := dial(ctx, m, address, 2, nil)
	if err == nil {
		c.Close()
	}
	return err
}
