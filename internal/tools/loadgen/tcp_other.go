//go:build !linux

package loadgen

import "net"

func congestionControl(net.Conn) string { return "" }

func sysctl(string) string { return "" }

func loopbackQdisc() string { return "" }
