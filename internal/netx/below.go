package netx

import "net"

// Below returns the uppermost connection of type T among conn and those below it,
// which their methods NetConn return.
func Below[T net.Conn](conn net.Conn) (found T, ok bool) {
	for {
		if found, ok = conn.(T); ok {
			return found, true
		}
		layer, is := conn.(interface{ NetConn() net.Conn })
		if !is {
			return found, false
		}
		conn = layer.NetConn()
	}
}
