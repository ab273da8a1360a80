package service

import (
	"context"
	"runtime/debug"
	"time"
)

// startTime is how long after the start the memory of the start is released. By then
// the proxy has measured its fronting hosts, as a rule.
const startTime = 2 * time.Second

// releaseMemory returns memory to the system that the process has needed for a while:
// garbage, and the pages of the program that only the start or handshakes have used.
func releaseMemory() {
	debug.FreeOSMemory()
	dropProgramPages()
}

// releaseStart calls releaseMemory once, after the start, unless ctx ends before.
func releaseStart(ctx context.Context) {
	timer := time.AfterFunc(startTime, releaseMemory)
	context.AfterFunc(ctx, func() { timer.Stop() })
}
