//go:build !linux

package loadgen

import (
	"errors"
	"time"
)

var errNotLinux = errors.New("CPU time and memory of a process are available on Linux only")

func processTime(int) (time.Duration, error) { return 0, errNotLinux }

func residentMemory(int) (int64, error) { return 0, errNotLinux }

func processDescriptorLimit(int) (limit int, known bool) { return 0, false }
