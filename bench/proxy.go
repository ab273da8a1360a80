package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/proxy"
)

// FrontedTarget is the greatest heap and stack of an idle connection between an
// unauthenticated client and its fronting host that the proxy may use, in bytes.
const FrontedTarget = 8 << 10

// proxySettle is how long a crowd's connections are left alone before the resident
// memory is read: longer than the proxy waits before it returns memory to the
// system.
const proxySettle = 10 * time.Second

// serveProxy serves with an MTProxy server whose fronting host is kind.front.
func serveProxy(ctx context.Context, ln net.Listener, kind *idleKind, waiting *atomic.Int64) {
	secret, err := mtproxy.ParseSecret(idleSecret)
	if err != nil {
		panic("internal error: " + err.Error())
	}
	p, err := proxy.New(proxy.Config{
		Users:              []proxy.User{{Name: "user", Secrets: []mtproxy.Secret{secret}}},
		Fronts:             map[string]proxy.Front{"": {Address: kind.front}},
		MaxUnauthenticated: 1 << 20,
		MaxFronted:         1 << 20,
		ReleaseMemory:      debug.FreeOSMemory,
		Log:                slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "proxy:", err)
		return
	}
	defer p.Close()
	// Stats makes garbage, so it is not called often.
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	served := make(chan struct{})
	go func() {
		defer close(served)
		p.Serve(ctx, ln)
	}()
	for {
		select {
		case <-tick.C:
			waiting.Store(p.Stats().Open)
		case <-served:
			return
		}
	}
}

// visit opens a connection that is tunneled to the fronting host, and waits for the
// host's answer.
func visit(ctx context.Context, address string) (io.Closer, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline)
	}
	if _, err = io.WriteString(conn, "GET / HTTP/1.1\r\n\r\n"); err == nil {
		_, err = io.ReadFull(conn, make([]byte, len(hostAnswer)))
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// hostAnswer is what the fronting host sends for the first bytes of a connection.
const hostAnswer = "x"

// startHost starts a fronting host in a process of its own. It ends with ctx.
func startHost(ctx context.Context) (address string, stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	cmd, err := child(ctx, roleHost)
	if err != nil {
		cancel()
		return "", nil, err
	}
	stop = func() {
		cancel()
		cmd.Wait() // killed by the context
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err == nil {
		address, err = bufio.NewReader(out).ReadString('\n')
	}
	if err != nil {
		stop()
		return "", nil, fmt.Errorf("fronting host: %w", err)
	}
	return strings.TrimSpace(address), stop, nil
}

// idleHost is a fronting host that answers the first bytes of each connection, and
// closes the connection after the client. It prints its address.
func idleHost() error {
	raiseLimit()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(ln.Addr())
	for {
		conn, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil {
			time.Sleep(time.Millisecond)
			continue
		}
		go func() {
			defer conn.Close()
			if _, err := conn.Read(make([]byte, 2<<10)); err != nil {
				return
			}
			io.WriteString(conn, hostAnswer)
			io.Copy(io.Discard, conn)
		}()
	}
}
