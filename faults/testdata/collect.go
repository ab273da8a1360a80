package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
)

// At each SIGUSR1 the program collects its garbage, returns free memory to the system,
// and writes what is in use. faults adds this file to the program under test.
func init() {
	requests := make(chan os.Signal, 1)
	signal.Notify(requests, syscall.SIGUSR1)
	go func() {
		for range requests {
			runtime.GC() // empties pools with the next one
			debug.FreeOSMemory()
			var memory runtime.MemStats
			runtime.ReadMemStats(&memory)
			fmt.Fprintf(os.Stderr, "in use: %d bytes of heap, %d bytes of stacks\n", memory.HeapAlloc, memory.StackInuse)
		}
	}()
}
