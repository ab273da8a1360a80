package route

import (
	"net"
	"syscall"
	"testing"

	"github.com/mtwire/mtwire/frame"
)

// Keep-alive probes are rare, for tens of thousands of idle connections, and come
// before address translation forgets a connection.
func TestIdleConnectionsAreProbedEveryOneToFiveMinutes(t *testing.T) {
	address, _ := dataCenter(t)
	upstream, err := router(t, Config{DataCenters: at(address)}).Dial(short(t), Request{DC: 2, Protocol: frame.Intermediate, Download: keyStream()})
	if err != nil {
		t.Fatal(err)
	}
	defer upstream.Close()
	raw, err := upstream.Stream.Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		on, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_KEEPALIVE)
		idle, err2 := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE)
		if on != 1 || idle < 60 || idle >= 300 {
			t.Errorf("SO_KEEPALIVE %d, TCP_KEEPIDLE %d s; %v, %v", on, idle, err, err2)
		}
	})
}
