package mtwire_test

import (
	"context"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
)

// recordingListener keeps what it accepts.
type recordingListener struct {
	net.Listener
	accepted chan *net.TCPConn
}

func (l *recordingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.accepted <- conn.(*net.TCPConn)
	}
	return conn, err
}

// The probes of a client, over every carrier, and of a listener are as configured.
func TestKeepAliveConfiguresTheProbes(t *testing.T) {
	config := &net.KeepAliveConfig{Enable: true, Idle: 77 * time.Second, Interval: 7 * time.Second, Count: 5}
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	recorder := &recordingListener{inner, make(chan *net.TCPConn, 1)}
	ln := mtwire.NewListener(recorder, &mtwire.ListenConfig{KeepAlive: config})
	ctx, cancel := context.WithCancel(short(t))
	served := make(chan error, 1)
	go func() { served <- ln.Serve(ctx, echo) }()
	defer func() { cancel(); <-served }()

	for _, scheme := range []string{"tcp", "ws", "http"} {
		dialled := make(chan *net.TCPConn, 1)
		client, err := mtwire.Dial(ctx, scheme+"://"+ln.Addr().String(), &mtwire.DialConfig{
			KeepAlive: config,
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := new(net.Dialer).DialContext(ctx, network, address)
				if err == nil {
					dialled <- conn.(*net.TCPConn)
				}
				return conn, err
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		client.Send(ctx, encrypted(3))
		if _, err := client.Receive(ctx); err != nil {
			t.Fatal(err)
		}
		for side, socket := range map[string]*net.TCPConn{"client": <-dialled, "server": <-recorder.accepted} {
			if idle := keepAliveIdle(t, socket); idle != 77 {
				t.Errorf("%s, %s: probes after %d s", scheme, side, idle)
			}
		}
		client.Close()
	}
}

func keepAliveIdle(t *testing.T, socket *net.TCPConn) (idle int) {
	t.Helper()
	raw, err := socket.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		idle, err = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE)
	})
	if err != nil {
		t.Fatal(err)
	}
	return idle
}
