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

// program is the binary as a proxy, running.
type program struct {
	cmd     *exec.Cmd
	address string
	link    string
	ended   chan error // what Wait said; then it is closed

	mu  sync.Mutex
	log bytes.Buffer
}

// startProgram runs mtwire proxy. place is where it listens; "" is any port of
// loopback. It is killed when the test ends, if it has not ended by then. files
// limits its descriptors, 0 is no limit but the system's.
func startProgram(t *testing.T, place string, files int, args ...string) *program {
	t.Helper()
	if place == "" {
		place = "127.0.0.1:0"
	}
	args = append([]string{"proxy", "--listen", place}, args...)
	cmd := exec.Command(binary, args...)
	if files > 0 {
		// Not by setrlimit from here: the Go runtime would undo it in a child.
		script := fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, files)
		cmd = exec.Command("sh", append([]string{"-c", script, binary}, args...)...)
	}
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
	for strings.HasPrefix(first, "time=") { // of the log
		first, err = lines.ReadString('\n')
	}
	address, listening := strings.CutPrefix(strings.TrimSpace(first), "listening on ")
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
			t.Logf("its log:\n%s", p.lastLines())
		}
	})
	if err != nil || linkErr != nil || !listening {
		t.Fatalf("it said %q, %v, %q, %v", first, err, link, linkErr)
	}
	p.address, p.link = address, strings.TrimSpace(link)
	return p
}

// Write takes what the program logs.
func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

func (p *program) lastLines() string {
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

// awaitEnd returns the exit code, -1 after a signal.
func (p *program) awaitEnd(t *testing.T, within time.Duration) int {
	t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(within):
		t.Fatalf("it has not ended after %v", within)
		return 0
	}
}

// descriptors counts its descriptors, and the pipes among them.
func (p *program) descriptors() (all, pipes int) {
	return openFiles(strconv.Itoa(p.cmd.Process.Pid))
}

// awaitDescriptors waits until there are no more than so many descriptors.
func (p *program) awaitDescriptors(t *testing.T, most int) {
	t.Helper()
	eventually(t, fmt.Sprintf("no more than %d descriptors are open", most), func() bool {
		n, _ := p.descriptors()
		return n <= most
	})
}

// resident is its memory, in KiB.
func (p *program) resident(t *testing.T) int {
	t.Helper()
	for _, line := range strings.Split(p.read(t, "status"), "\n") {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "VmRSS:" {
			n, err := strconv.Atoi(fields[1])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("there is no line for its memory")
	return 0
}

// processorTime is what it has used so far.
func (p *program) processorTime(t *testing.T) time.Duration {
	t.Helper()
	stat := p.read(t, "stat")
	fields := strings.Fields(stat[strings.LastIndex(stat, ")")+1:]) // from the third on
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

func (p *program) read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// flagsFor are the flags for one data centre, and m's secret.
func flagsFor(m mode, dc *loadgen.DataCenter, host *frontingHost) []string {
	flags := []string{"--secret", m.secret, "--dc", "*=" + dc.Addr().String()}
	if m.name == "ee" {
		flags = append(flags, "--front", host.address())
	}
	return flags
}

// answers says whether the proxy at address serves a client within a time.
func answers(m mode, address string, within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	c, err := dial(ctx, m, address, 2, nil)
	if err == nil {
		c.Close()
	}
	return err
}
