//go:build !linux

package main

import (
	"errors"
	"net"
)

const canStartBulkLoad = false

func dontBlock(*net.TCPListener) error { return errors.ErrUnsupported }
