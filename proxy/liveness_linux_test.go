package proxy

import (
	"net"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/mtwiretest"
	"golang.org/x/sys/unix"
)

// A client's connection has no keep-alive of the proxy's until it is
// authenticated, and then that of the configuration.
func TestKeepAliveAfterAuthenticationOnly(t *testing.T) {
	dc, _ := dataCenter(t)
	accepted := make(chan *net.TCPConn, 1)
	ln := listen(t, "tcp", "127.0.0.1:0")
	p := newProxy(t, Config{DataCenters: allAt(dc), KeepAlive: 77 * time.Second, PeerTimeout: 33 * time.Second})
	serve(t, p, &socketListener{ln, accepted})
	silent, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	socket := <-accepted
	eventually(t, "no keep-alive", func() bool { return option(t, socket, unix.SOL_SOCKET, unix.SO_KEEPALIVE) == 0 })
	join(t, ln.Addr(), "secret="+mtwiretest.PaddedSecret)
	socket = <-accepted
	for name, c := range map[string]struct{ level, option, want int }{
		"keep-alive":   {unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		"idle":         {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 77},
		"user timeout": {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 33000},
	} {
		if got := option(t, socket, c.level, c.option); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// socketListener passes on the sockets that it accepts.
type socketListener struct {
	net.Listener
	accepted chan *net.TCPConn
}

func (l *socketListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.accepted <- conn.(*net.TCPConn)
	}
	return conn, err
}

func option(t *testing.T, conn *net.TCPConn, level, option int) (value int) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { value, failed = unix.GetsockoptInt(int(fd), level, option) }); err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	return value
}

func TestLivenessDefaults(t *testing.T) {
	for _, c := range []struct {
		config Config
		want   netx.Liveness
	}{
		{Config{}, netx.Liveness{Idle: 5 * time.Minute, Interval: 30 * time.Second, Count: 4, UserTimeout: 2 * time.Minute}},
		{Config{KeepAlive: -1, PeerTimeout: -1}, netx.Liveness{Idle: -1, Interval: 30 * time.Second, Count: 4}},
	} {
		got, writeTimeout := c.config.liveness()
		if got != c.want || writeTimeout != c.want.UserTimeout {
			t.Errorf("%+v, %v", got, writeTimeout)
		}
	}
}
