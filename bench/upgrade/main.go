//go:build linux

// Upgrade measures an upgrade of mtwire proxy with thousands of idle sessions and a chat: how
// long it takes, the memory of both processes beside that of one, and the delay of the chat's
// answers beside that before. Clients and data centre are in its own process. See
// docs/upgrade.md.
//
//	go build -o mtwire ./cmd/mtwire && go -C bench run ./upgrade -mtwire ../mtwire
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
)

var (
	program  = flag.String("mtwire", "./mtwire", "`PATH` of the program")
	sessions = flag.Int("sessions", 9000, "idle sessions: each takes two descriptors here, and two of the proxy")
	chats    = flag.Int("chats", 100, "sessions with a message every 100 ms")
	before   = flag.Duration("before", 8*time.Second, "time before each upgrade, for which the chat is measured")
	cgroup   = flag.String("cgroup", "", "`DIRECTORY` of an empty memory cgroup for the proxy, whose memory is measured as well")
	rounds   = flag.Int("rounds", 3, "rounds of two upgrades, one for the memory and one for the chat")
)

func main() {
	flag.Parse()
	log.SetFlags(0)
	dir, err := os.MkdirTemp("", "mtwire-upgrade")
	if err != nil {
		log.Fatal(err)
	}
	err = run(dir)
	os.RemoveAll(dir)
	if err != nil {
		log.Fatal(err)
	}
}

// proxy is the proxy, from process to process.
type proxy struct {
	address, log string
	pid          int
}

func run(dir string) error {
	ctx := context.Background()
	dc, err := startEcho(ctx)
	if err != nil {
		return err
	}
	p, err := start(dir, dc)
	if err != nil {
		return err
	}
	defer func() { syscall.Kill(p.pid, syscall.SIGKILL) }()
	conns := make([]*mtwire.Conn, *sessions+*chats)
	if err := each(len(conns), func(i int) (err error) {
		if conns[i], err = mtwire.Dial(ctx, "tcp://"+p.address+"?secret="+secrets[i%len(secrets)], nil); err == nil {
			err = echo(ctx, conns[i])
		}
		return err
	}); err != nil {
		return err
	}
	fmt.Printf("%d idle sessions and a chat of %d\n", *sessions, *chats)
	var memories, anonymouses, groups, p99s []float64
	for range *rounds {
		// Reading the memory of a process holds it up, so the chat is measured in another upgrade.
		time.Sleep(*before)
		m, err := p.upgrade(true)
		if err != nil {
			return err
		}
		all, anonymous, group := m.printMemory()
		memories, anonymouses, groups = append(memories, all), append(anonymouses, anonymous), append(groups, group)
		c := startChat(ctx, conns[*sessions:])
		time.Sleep(*before)
		m, err = p.upgrade(false)
		delays, failed := c.end()
		if err == nil {
			err = failed
		}
		if err == nil {
			err = each(*sessions, func(i int) error { return echo(ctx, conns[i]) })
		}
		if err != nil {
			return err
		}
		p99s = append(p99s, m.printDelays(delays))
	}
	fmt.Printf("medians: memory %.2f times, without files %.2f, of the cgroup %.2f, p99 of the chat %.1f times\n",
		median(memories), median(anonymouses), median(groups), median(p99s))
	return nil
}

var secrets = []string{mtwiretest.PlainSecret, "dd" + mtwiretest.PlainSecret, mtwiretest.FakeTLSSecret}

func startEcho(ctx context.Context) (address string, err error) {
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		return "", err
	}
	go ln.Serve(ctx, func(ctx context.Context, conn *mtwire.Conn) {
		if conn.Handshake(ctx) == nil {
			mtwiretest.Echo(ctx, conn)
		}
	})
	return ln.Addr().String(), nil
}

// start starts the proxy, and waits until it listens.
func start(dir, dc string) (*proxy, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{address: ln.Addr().String(), log: filepath.Join(dir, "log")}
	ln.Close()
	cmd := exec.Command(*program, "proxy", "--listen", p.address, "--dc", "*="+dc, "--log-file", p.log, "--state", dir,
		"--secret", mtwiretest.PlainSecret, "--secret", "ee="+mtwiretest.FakeTLSSecret, "--probe=false", "--log-connections=false",
		"--max-unauthenticated", "4000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go cmd.Wait()
	p.pid = cmd.Process.Pid
	if err := joinGroup(p.pid); err != nil {
		return nil, err
	}
	for range 1000 {
		if conn, err := net.Dial("tcp", p.address); err == nil {
			return p, conn.Close()
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil, fmt.Errorf("%s does not listen", *program)
}

// each calls do with each number below n, at 16 at a time.
func each(n int, do func(i int) error) (err error) {
	var running sync.WaitGroup
	var mu sync.Mutex
	for worker := range 16 {
		running.Go(func() {
			for i := worker; i < n; i += 16 {
				if failed := do(i); failed != nil {
					mu.Lock()
					err = fmt.Errorf("session %d: %w", i, failed)
					mu.Unlock()
					return
				}
			}
		})
	}
	running.Wait()
	return err
}

func echo(ctx context.Context, conn *mtwire.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	message := make([]byte, 104)
	message[0] = 1
	if err := conn.Send(ctx, message); err != nil {
		return err
	}
	_, err := conn.Receive(ctx)
	return err
}

// delay is how long an answer took, and when its message was sent.
type delay struct {
	at   time.Time
	took time.Duration
}

// chat is sessions with a message every 100 ms.
type chat struct {
	stop    context.CancelFunc
	running sync.WaitGroup
	mu      sync.Mutex
	delays  []delay
	err     error
}

func startChat(ctx context.Context, conns []*mtwire.Conn) *chat {
	c := new(chat)
	stopping, stop := context.WithCancel(ctx)
	c.stop = stop
	for i, conn := range conns {
		c.running.Go(func() {
			time.Sleep(100 * time.Millisecond * time.Duration(i) / time.Duration(len(conns)))
			for ticker := time.NewTicker(100 * time.Millisecond); stopping.Err() == nil; <-ticker.C {
				at := time.Now()
				err := echo(ctx, conn)
				c.mu.Lock()
				c.delays = append(c.delays, delay{at, time.Since(at)})
				if err != nil {
					c.err = err
				}
				c.mu.Unlock()
			}
		})
	}
	return c
}

func (c *chat) end() ([]delay, error) {
	c.stop()
	c.running.Wait()
	return c.delays, c.err
}

// measurement is what an upgrade has taken.
type measurement struct {
	begun, ended time.Time // the signal, and the end of the old process
	moved, took  string    // as logged
	one, both    memory    // before the upgrade, and the most of both processes

	anonymousBoth       float64 // the most of both without files
	groupOne, groupBoth float64 // the same as one and both, of -cgroup
}

var takenOver = regexp.MustCompile(`another process has taken over" pid=(\d+) sessions=(\d+) left=\d+ took=(\S+)`)

// upgrade upgrades the proxy, until a second after the old process has ended. It measures the
// memory if that is wanted.
func (p *proxy) upgrade(memory bool) (m measurement, err error) {
	old := p.pid
	m.one, m.groupOne = memoryOf(old), groupMemory()
	before := len(p.takeovers())
	m.begun = time.Now()
	if err := syscall.Kill(old, syscall.SIGUSR2); err != nil {
		return m, err
	}
	for ; ; time.Sleep(10 * time.Millisecond) {
		if time.Since(m.begun) > time.Minute {
			return m, fmt.Errorf("no upgrade within a minute")
		}
		if all := p.takeovers(); len(all) > before && m.took == "" {
			last := all[before]
			m.moved, m.took = last[2], last[3]
			p.pid, _ = strconv.Atoi(last[1])
		}
		if hasEnded(old) {
			break
		}
		if memory {
			m.groupBoth = max(m.groupBoth, groupMemory())
			both := memoryOfBoth(old)
			m.anonymousBoth = max(m.anonymousBoth, both.anonymous)
			if both.sum() > m.both.sum() {
				m.both = both
			}
		}
	}
	m.ended = time.Now()
	time.Sleep(time.Second)
	return m, nil
}

func (p *proxy) takeovers() [][]string {
	text, _ := os.ReadFile(p.log)
	return takenOver.FindAllStringSubmatch(string(text), -1)
}

// child returns a child of a process, 0 if there is none: the one that checks the
// configuration, and then the one that takes over.
func child(pid int) int {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, path := range tasks {
		text, _ := os.ReadFile(path)
		if fields := strings.Fields(string(text)); len(fields) > 0 {
			n, _ := strconv.Atoi(fields[0])
			return n
		}
	}
	return 0
}

// hasEnded reports whether a process has ended, whether another one has waited for it or not.
func hasEnded(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := strings.Cut(string(text), ") ")
	return err != nil || strings.HasPrefix(state, "Z")
}

// stack returns the address of the stack of a process. A child has that of its parent, and
// all of its memory, until it executes its program.
func stack(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(string(text))
	if len(fields) < 28 {
		return ""
	}
	return fields[27]
}

// printDelays prints the times and the p99 of the chat, and returns the ratio of that during the
// upgrade to that before.
func (m *measurement) printDelays(delays []delay) float64 {
	p99 := func(from, to time.Time) time.Duration {
		var took []time.Duration
		for _, d := range delays {
			if !d.at.Before(from) && d.at.Before(to) {
				took = append(took, d.took)
			}
		}
		if len(took) == 0 {
			return 0
		}
		slices.Sort(took)
		return took[len(took)*99/100]
	}
	before := p99(m.begun.Add(-*before), m.begun)
	during := p99(m.begun, m.ended)
	ratio := float64(during) / float64(before)
	fmt.Printf("%s sessions moved in %s, the old process was gone after %v; p99 of the chat: %v before, %v during it: %.1f times\n",
		m.moved, m.took, m.ended.Sub(m.begun).Round(time.Millisecond), before.Round(10*time.Microsecond), during.Round(10*time.Microsecond), ratio)
	return ratio
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}
