package service

import (
	"context"
	"runtime/debug"
	"sync"
	"time"

	"github.com/mtwire/mtwire/internal/service/store"
)

// startTime is how long after the start the memory of the start is released. By then
// the proxy has measured its fronting hosts, as a rule.
const startTime = 2 * time.Second

// thriftyPercent is the percentage of garbage, of what is in use, while many users are
// loaded: most of what that takes is garbage soon. A start with 100,000 users has a peak of
// 220 MiB all the same.
const thriftyPercent = 25

// manyUsers is from how many users on loading them is thrifty, and largeFile from how many
// bytes of a file with them.
const manyUsers, largeFile = 10_000, 1 << 20

// hasManyUsers reports whether c has many users, or its store.
func (c *Config) hasManyUsers() bool {
	path, err := c.storePath()
	return len(c.Users) > manyUsers || err == nil && store.UsersSize(path) > largeFile
}

// thrift has the number of calls of beThrifty whose end was not called.
var thrift struct {
	sync.Mutex
	calls, usual int
}

// beThrifty has less garbage in memory, if that is needed, until end is called.
func beThrifty(needed bool) (end func()) {
	if !needed {
		return func() {}
	}
	thrift.Lock()
	defer thrift.Unlock()
	if thrift.calls++; thrift.calls == 1 {
		thrift.usual = debug.SetGCPercent(thriftyPercent)
		if thrift.usual >= 0 && thrift.usual < thriftyPercent { // GOGC of the environment
			debug.SetGCPercent(thrift.usual)
		}
	}
	return func() {
		thrift.Lock()
		defer thrift.Unlock()
		if thrift.calls--; thrift.calls == 0 {
			debug.SetGCPercent(thrift.usual)
		}
	}
}

// releaseMemory returns memory to the system that the process has needed for a while:
// garbage, and the pages of the program that only the start or handshakes have used.
func releaseMemory() {
	debug.FreeOSMemory()
	dropProgramPages()
}

// DropProgramPages makes the pages of the program's file not resident that were used so far, of
// which a process that starts has many. It is for one beside another process.
func DropProgramPages() { dropProgramPages() }

// releaseStart calls releaseMemory once, after the start, unless ctx ends before.
func (s *Service) releaseStart(ctx context.Context) {
	s.release.Reset(startTime)
	context.AfterFunc(ctx, func() { s.release.Stop() })
}

// newRelease returns a timer that calls releaseMemory, and does not run.
func newRelease() *time.Timer {
	timer := time.AfterFunc(time.Hour, releaseMemory)
	timer.Stop()
	return timer
}

// releaseReload calls releaseMemory soon after a reload, or a change of one of many users, once
// for several in a row. A hundred thousand users are in memory twice during that, and as a text.
func (s *Service) releaseReload() {
	if s.ran.Load() {
		s.release.Reset(startTime)
	}
}
