package route

import (
	"net"
	"syscall"
	"testing"

	"github.com/mtwire/mtwire/frame"
)

// Tens of thousands of silent connections must not be probed all the time, and
// none must be forgotten on its way.
func TestSilentConnectionsAreProbedNowAndThen(t *testing.T) {
	address, _ := dataCenter(t)
	leg, err := router(t, Config{DataCenters: at(address)}).Dial(short(t), 2, frame.Intermediate, keyStream())
	if err != nil {
		t.Fatal(err)
	}
	defer leg.Conn.Close()
	raw, err := leg.Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		on, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_KEEPALIVE)
		idle, err2 := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE)
		if on != 1 || idle < 60 || idle >= 300 {
			t.Errorf("probes: %d, after %d s; %v, %v", on, idle, err, err2)
		}
	})
}
