package loadgen

import (
	"bytes"
	"net"
	"os"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// congestionControl returns the algorithm of a TCP connection, "" if there is none.
func congestionControl(conn net.Conn) (algorithm string) {
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return ""
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return ""
	}
	raw.Control(func(fd uintptr) {
		algorithm, _ = unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION)
	})
	return strings.TrimRight(algorithm, "\x00")
}

// sysctl returns a setting of the kernel, "" if it cannot be read.
func sysctl(name string) string {
	value, err := os.ReadFile("/proc/sys/" + name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(value))
}

// loopbackQdisc returns the queueing discipline of the loopback interface, "" if it
// is not known.
func loopbackQdisc() string {
	table, err := syscall.NetlinkRIB(syscall.RTM_GETLINK, syscall.AF_UNSPEC)
	if err != nil {
		return ""
	}
	messages, err := syscall.ParseNetlinkMessage(table)
	if err != nil {
		return ""
	}
	for i := range messages {
		m := &messages[i]
		if m.Header.Type != syscall.RTM_NEWLINK || len(m.Data) < syscall.SizeofIfInfomsg ||
			(*syscall.IfInfomsg)(unsafe.Pointer(&m.Data[0])).Flags&syscall.IFF_LOOPBACK == 0 {
			continue
		}
		attributes, err := syscall.ParseNetlinkRouteAttr(m)
		if err != nil {
			return ""
		}
		for _, a := range attributes {
			if a.Attr.Type == syscall.IFLA_QDISC {
				return string(bytes.TrimRight(a.Value, "\x00"))
			}
		}
	}
	return ""
}
