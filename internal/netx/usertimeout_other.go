//go:build !linux

package netx

import "time"

func setUserTimeout(tcpSocket, time.Duration) error { return nil }
