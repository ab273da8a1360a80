package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/rpc"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/tools/calltrace/hook"
)

const (
	// secret is a FakeTLS secret for example.com.
	secret = "ee000102030405060708090a0b0c0d0e0f6578616d706c652e636f6d"
	// lag is how long the client waits before each write. The proxy then always
	// waits for the bytes; a read that finds some at once calls less.
	lag = 30 * time.Millisecond
	// quiet is how long the proxy enters no function before it is considered to
	// be waiting. It is well below the 200 ms after which a relay parks an idle
	// connection, which is not part of the handshake.
	quiet = 40 * time.Millisecond
)

// tracedProxy is a running proxy with hooks, and its data centre.
type tracedProxy struct {
	cmd      *exec.Cmd
	link     string
	recorder *rpc.Client
	asked    chan struct{} // the data centre has received a packet
	answer   chan struct{} // the data centre may send it back
}

// start runs binary as a proxy until ctx ends. The caller waits for cmd
// afterwards, also if start fails.
func start(ctx context.Context, binary string, log io.Writer) (*tracedProxy, error) {
	p := &tracedProxy{cmd: exec.CommandContext(ctx, binary), asked: make(chan struct{}), answer: make(chan struct{})}
	dc, err := mtwire.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		return p, err
	}
	go dc.Serve(ctx, p.serveDC)
	control, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return p, err
	}
	defer control.Close()
	control.SetDeadline(time.Now().Add(10 * time.Second))

	p.cmd.Args = append(p.cmd.Args, "proxy", "--print-links", "--listen", "127.0.0.1:0", "--secret", secret,
		"--dc", "*="+dc.Addr().String(), "--front", "127.0.0.1:1")
	// On one thread and without garbage collection, buffer pools behave the same
	// in each run.
	p.cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "GOGC=off", hook.AddressVariable+"="+control.Addr().String())
	p.cmd.Stderr = log
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return p, err
	}
	if err := p.cmd.Start(); err != nil {
		return p, err
	}
	conn, err := control.Accept()
	if err != nil {
		return p, err
	}
	p.recorder = rpc.NewClient(conn)
	p.link, err = bufio.NewReader(stdout).ReadString('\n')
	p.link = strings.TrimSpace(p.link)
	return p, err
}

// request is what the client sends. The proxy's own requests at its start are others,
// and get no answer. Padding may follow it.
var request = bytes.Repeat([]byte{1}, 40)

// serveDC is the data centre's side of a connection.
func (p *tracedProxy) serveDC(ctx context.Context, conn *mtwire.Conn) {
	if packet, err := conn.Receive(ctx); err == nil && bytes.HasPrefix(packet.Payload, request) {
		p.asked <- struct{}{}
		<-p.answer
		conn.Send(ctx, packet.Payload)
		conn.Receive(ctx) // returns when the proxy closes
	}
}

// connect sends a packet through a new connection and receives the answer. It
// returns the entries before the answer and those after it.
func (p *tracedProxy) connect(ctx context.Context) (up, down []hook.Entry, err error) {
	if _, err := p.settle(); err != nil { // the end of the previous connection
		return nil, nil, err
	}
	client, err := mtwire.Dial(ctx, p.link, &mtwire.DialConfig{DialContext: dialSlow})
	if err != nil {
		return nil, nil, err
	}
	defer client.Close()
	if err := client.Send(ctx, request); err != nil {
		return nil, nil, err
	}
	select {
	case <-p.asked:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	if up, err = p.settle(); err != nil {
		return nil, nil, err
	}
	p.answer <- struct{}{}
	if _, err := client.Receive(ctx); err != nil {
		return nil, nil, err
	}
	down, err = p.settle()
	return up, down, err
}

// settle waits until the proxy enters no more functions and returns the entries
// since the last call.
func (p *tracedProxy) settle() (entries []hook.Entry, err error) {
	for {
		time.Sleep(quiet)
		var more []hook.Entry
		if err := p.recorder.Call("Recorder.Take", struct{}{}, &more); err != nil || len(more) == 0 {
			return entries, err
		}
		entries = append(entries, more...)
	}
}

// dialSlow returns a connection that waits before each Write.
func dialSlow(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	return slowConn{conn}, err
}

type slowConn struct{ net.Conn }

func (c slowConn) Write(b []byte) (int, error) {
	time.Sleep(lag)
	return c.Conn.Write(b)
}
