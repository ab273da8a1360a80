package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/metrics"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/transport"
	"github.com/mtwire/mtwire"
)

// IdleTarget is the greatest heap and stack of an idle connection that mtwire may
// use, in bytes.
const IdleTarget = 6 << 10

// Idle is the memory of a server for one idle connection, in bytes.
type Idle struct {
	Name        string
	Connections int
	Heap, Stack float64
	Target      float64 // 0: no target

	// Resident is the increase of the resident memory for one connection, and Left
	// what is left of the whole increase after all connections have ended. Both
	// are without a garbage collection other than the server's own. 0 means that
	// they are not measured.
	Resident, Left float64
}

// Total returns the sum of heap and stack.
func (i Idle) Total() float64 { return i.Heap + i.Stack }

const idleSecret = "ee000102030405060708090a0b0c0d0e0f6578616d706c652e636f6d"

// idleKind is a kind of idle connection, in the state that it is idle in.
type idleKind struct {
	name   string
	target float64
	config *mtwire.ListenConfig
	serve  func(ctx context.Context, ln net.Listener, kind *idleKind, waiting *atomic.Int64)
	host   bool   // the server has a fronting host, at front
	front  string // set before serve is called
	// client opens a connection up to the state in which it is idle; nil only
	// connects.
	client func(ctx context.Context, address string) (io.Closer, error)
}

// idleKinds returns all kinds of idle connections.
func idleKinds() []idleKind {
	secret, err := mtwire.ParseSecret(idleSecret)
	if err != nil {
		panic("internal error: " + err.Error())
	}
	dial := func(format string) func(ctx context.Context, address string) (io.Closer, error) {
		return func(ctx context.Context, address string) (io.Closer, error) {
			return exchange(ctx, fmt.Sprintf(format, address))
		}
	}
	return []idleKind{
		{name: "silent", target: IdleTarget, serve: serve},
		{name: "silent, Accept loop without Serve", target: IdleTarget, serve: acceptAndReceive},
		{name: "after a packet, intermediate", serve: serve, client: dial("tcp://%s?protocol=intermediate")},
		{name: "after a packet, obfuscated intermediate", serve: serve,
			client: dial("tcp://%s?protocol=intermediate&obfuscated=true")},
		{name: "after a packet, FakeTLS", serve: serve,
			config: &mtwire.ListenConfig{Secrets: []mtwire.Secret{secret}},
			client: dial("tcp://%s?secret=" + idleSecret)},
		{name: "gotd: after a packet, intermediate", serve: serveGotd, client: dial("tcp://%s?protocol=intermediate")},
		{name: "proxy: tunneled to the fronting host", target: FrontedTarget, serve: serveProxy, host: true, client: visit},
		{name: "proxy: silent, the fronting host connected", target: FrontedTarget, serve: serveProxy, host: true},
	}
}

// exchange connects, sends a packet and waits for its echo.
func exchange(ctx context.Context, endpoint string) (io.Closer, error) {
	conn, err := mtwire.Dial(ctx, endpoint, nil)
	if err != nil {
		return nil, err
	}
	if err = conn.Send(ctx, message(1032, 1)); err == nil {
		_, err = conn.Receive(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// echoOnce echoes the first packet, unless the connection is silent, and waits for
// another. waiting counts the connections that have become idle.
func echoOnce(ctx context.Context, conn *mtwire.Conn, silent bool, waiting *atomic.Int64) {
	if !silent {
		p, err := conn.Receive(ctx)
		if err != nil || conn.Send(ctx, p.Payload) != nil {
			return
		}
	}
	waiting.Add(1)
	conn.Receive(ctx)
}

// serve serves with Listener.Serve.
func serve(ctx context.Context, ln net.Listener, kind *idleKind, waiting *atomic.Int64) {
	mtwire.NewListener(ln, kind.config).Serve(ctx, func(ctx context.Context, conn *mtwire.Conn) {
		echoOnce(ctx, conn, kind.client == nil, waiting)
	})
}

// acceptAndReceive serves with Listener.Accept, which is the least that a server
// needs.
func acceptAndReceive(ctx context.Context, ln net.Listener, kind *idleKind, waiting *atomic.Int64) {
	listener := mtwire.NewListener(ln, kind.config)
	var handlers sync.WaitGroup
	defer handlers.Wait()
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		handlers.Go(func() {
			defer conn.Close()
			echoOnce(ctx, conn, kind.client == nil, waiting)
		})
	}
}

// serveGotd serves with gotd's listener. Its Accept reads the header, so it cannot
// have silent connections.
func serveGotd(ctx context.Context, ln net.Listener, _ *idleKind, waiting *atomic.Int64) {
	listener := transport.ListenCodec(func() transport.Codec { return transport.Intermediate.Codec() }, ln)
	var handlers sync.WaitGroup
	defer handlers.Wait()
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		handlers.Go(func() {
			defer conn.Close()
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			defer stop()
			var buf bin.Buffer
			if conn.Recv(ctx, &buf) != nil || conn.Send(ctx, &buf) != nil {
				return
			}
			waiting.Add(1)
			conn.Recv(ctx, &buf)
		})
	}
}

// roleVariable is the environment variable that makes a process a server or its
// clients.
const (
	roleVariable = "MTWIRE_BENCH_ROLE"
	roleServer   = "idle-server"
	roleClients  = "idle-clients"
	roleHost     = "idle-host"
)

// RunChild runs the child process of MeasureIdle that the environment selects, and
// exits. Otherwise it returns. A program that calls MeasureIdle must call RunChild
// first: MeasureIdle starts the program again as the server, so that nothing else is
// in its memory, and the server starts it as the clients, so that their memory is not
// counted.
func RunChild() {
	role := os.Getenv(roleVariable)
	if role == "" {
		return
	}
	var err error
	switch args := os.Args[1:]; {
	case role == roleServer && len(args) == 2:
		err = idleServer(args[0], args[1])
	case role == roleClients && len(args) == 3:
		err = idleClients(args[0], args[1], args[2])
	case role == roleHost && len(args) == 0:
		err = idleHost()
	default:
		err = fmt.Errorf("no such role: %s %q", role, args)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", role, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// child returns the command of a child process with a role.
func child(ctx context.Context, role string, args ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stderr = os.Stderr
	return cmd, nil
}

// IdleNames returns the names of all kinds of idle connections.
func IdleNames() (names []string) {
	for _, kind := range idleKinds() {
		names = append(names, kind.name)
	}
	return names
}

// MeasureIdle opens n connections of a kind over loopback to a server in a process
// of its own, and returns the server's memory for one. n is lowered to the limit on
// descriptors, of which a connection takes up to two.
func MeasureIdle(ctx context.Context, name string, n int) (Idle, error) {
	n = min(n, raiseLimit()/2-64)
	cmd, err := child(ctx, roleServer, name, strconv.Itoa(n))
	if err != nil {
		return Idle{}, err
	}
	out, err := cmd.Output()
	if err != nil {
		return Idle{}, fmt.Errorf("idle %s: %w", name, err)
	}
	var result Idle
	err = json.Unmarshal(out, &result)
	return result, err
}

// findIdle returns the kind and the number of connections of a child's arguments,
// and raises the limit on descriptors.
func findIdle(name, count string) (*idleKind, int, error) {
	n, err := strconv.Atoi(count)
	if err != nil {
		return nil, 0, err
	}
	raiseLimit()
	for _, kind := range idleKinds() {
		if kind.name == name {
			return &kind, n, nil
		}
	}
	return nil, 0, errors.New("no such kind: " + name)
}

// memory returns the bytes in use after garbage collection. It collects at least
// twice, because pools are emptied by the second collection, and goes on while
// stacks shrink: a collection halves each stack that is used by less than a quarter.
func memory() (heap, stack float64) {
	for before := uint64(math.MaxUint64); ; {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if m.StackInuse >= before {
			return float64(m.HeapAlloc), float64(m.StackInuse)
		}
		before = m.StackInuse
	}
}

// idleServer measures idle connections to this process and prints an Idle in JSON.
func idleServer(name, count string) error {
	kind, n, err := findIdle(name, count)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	if kind.host {
		address, stop, err := startHost(ctx)
		if err != nil {
			return err
		}
		defer stop()
		kind.front = address
	}
	var waiting atomic.Int64
	served := make(chan struct{})
	go func() {
		defer close(served)
		kind.serve(ctx, ln, kind, &waiting)
	}()

	cmd, err := child(ctx, roleClients, name, count, ln.Addr().String())
	if err != nil {
		return err
	}
	requests, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	reports, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	in := bufio.NewReader(reports)

	// One connection first, so that one-time allocations are not counted.
	if err := openClients(requests, in, 1); err != nil {
		return err
	}
	kind.waitIdle(&waiting, 1)
	heap, stack := memory()
	resident := residentMemory()
	if err := openClients(requests, in, n); err != nil {
		return err
	}
	kind.waitIdle(&waiting, n+1)
	kind.settle(n)
	residentThen := residentMemory()
	heapThen, stackThen := memory()

	result := Idle{Name: kind.name, Connections: n, Target: kind.target,
		Heap: (heapThen - heap) / float64(n), Stack: (stackThen - stack) / float64(n)}
	requests.Close() // the clients leave
	if kind.host {
		for waiting.Load() > 0 {
			time.Sleep(time.Millisecond)
		}
		kind.settle(n)
		result.Resident, result.Left = (residentThen-resident)/float64(n), residentMemory()-resident
	}
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		return err
	}
	cancel()
	ln.Close()
	<-served
	cmd.Wait() // the context may have killed it
	return nil
}

// settle waits until a server with n connections has returned memory to the system,
// which matters for resident memory only.
func (kind *idleKind) settle(n int) {
	if kind.host && n >= 1000 {
		time.Sleep(proxySettle)
	}
}

// openClients makes the process of the clients open n more connections.
func openClients(requests io.Writer, reports *bufio.Reader, n int) error {
	if _, err := fmt.Fprintln(requests, n); err != nil {
		return err
	}
	if _, err := reports.ReadString('\n'); err != nil {
		return fmt.Errorf("process of the clients: %w", err)
	}
	return nil
}

// waitIdle waits until n connections are idle and n goroutines are waiting. The
// proxy's idle connections may have none: they are idle after a moment without bytes.
func (kind *idleKind) waitIdle(waiting *atomic.Int64, n int) {
	if kind.host {
		for waiting.Load() < int64(n) {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		return
	}
	sample := []metrics.Sample{{Name: "/sched/goroutines/waiting:goroutines"}}
	for {
		metrics.Read(sample)
		if waiting.Load() >= int64(n) && sample[0].Value.Kind() == metrics.KindUint64 &&
			sample[0].Value.Uint64() >= uint64(n) {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// idleClients opens the number of connections in each line of standard input, and
// holds them until the input ends.
func idleClients(name, count, address string) error {
	kind, _, err := findIdle(name, count)
	if err != nil {
		return err
	}
	open := kind.client
	if open == nil {
		var d net.Dialer
		open = func(ctx context.Context, address string) (io.Closer, error) {
			return d.DialContext(ctx, "tcp", address)
		}
	}
	var held []io.Closer
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		n, err := strconv.Atoi(lines.Text())
		if err != nil {
			return err
		}
		more, err := openMany(n, func() (io.Closer, error) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			return open(ctx, address)
		})
		if err != nil {
			return err
		}
		held = append(held, more...)
		fmt.Println("ready")
	}
	for _, c := range held {
		c.Close()
	}
	return nil
}

// openMany opens n connections, 32 at a time.
func openMany(n int, open func() (io.Closer, error)) ([]io.Closer, error) {
	var (
		workers sync.WaitGroup
		left    atomic.Int64
		mu      sync.Mutex
		all     []io.Closer
		first   error
	)
	left.Store(int64(n))
	for range 32 {
		workers.Go(func() {
			for left.Add(-1) >= 0 {
				c, err := open()
				mu.Lock()
				if err != nil {
					first = err
					mu.Unlock()
					return
				}
				all = append(all, c)
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	return all, first
}
