// Package store keeps what outlives a run of the proxy about its users: their counters,
// their bytes of each day, and the users that were added at run time.
//
//	store.go        Open, Run, Close: when the disk is used
//	counters.go     the usage file, and the end of a day; left.go: what a process leaves
//	                that does not have the directory
//	history.go      the day files
//	added.go        the users that were added at run time; definitions.go: their file
//	networks.go     the networks that were allowed and blocked at run time
//	format.go       layout of the files
//	disk.go         files that are replaced as a whole; owner_*.go: their owner
//	lock_*.go       one process for a directory
//
// Each file is replaced as a whole: written under another name, with fsync, and renamed.
// For 10,000 users the usage file is about 600 KB and takes 11 ms, where a database
// with a log (bbolt) takes 29 ms and is a file that can be damaged in parts. Users and
// usage are different files, so that what is written every few seconds puts nothing at
// risk that an operator has entered.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire/internal/service/users"
)

const (
	// interval is the time between two writes, if something has changed: a crash loses
	// the bytes of that time, and of a write.
	interval = 3 * time.Second
	// warnInterval is the least time between two warnings of a disk that fails.
	warnInterval = time.Minute
)

// Options are what a Store needs. The zero value is good.
type Options struct {
	// Log gets a warning if the disk fails, once a minute at most, and a line when it
	// works again. Nil means slog.Default.
	Log *slog.Logger
	// Time is the wall clock, by which days begin, at midnight UTC. Nil means time.Now.
	Time func() time.Time
}

// Source is where the counters are, such as a *users.Policy.
type Source interface {
	// Counters appends all counters.
	Counters([]users.Counter) []users.Counter
	// Merge adds what another process has counted, from one time to another.
	Merge(from, to []users.Counter)
}

// Store is a directory. Its methods may be called concurrently.
//
// One process writes to a directory at a time. Another one that opens it, such as the
// next during an upgrade, counts in memory until the first has ended, and then goes on
// from what that one has written. If it ends before, it leaves its counts to that one.
//
// If the disk is full, read-only or missing, the Store works in memory, and tries again
// until it can write everything. What was stored before stays as it is. A file that is
// damaged is renamed, with .damaged and a number behind its name, and the Store begins
// without it.
type Store struct {
	dir  string
	log  *slog.Logger
	wall func() time.Time

	closing chan struct{}
	close   sync.Once // closes closing

	shown atomic.Pointer[Status] // what Status returns: a copy of status

	mu       sync.Mutex // held during all use of the disk
	lock     *os.File   // nil while another process has the directory
	source   Source     // nil before Run
	day      users.Day
	base     map[string]direction // the counters at the beginning of day
	ready    bool                 // the lock is held, and the files were read
	loaded   []users.Counter      // that were read last
	written  uint64               // the sum of the usage file's records
	size     usageSize            // of what was written last
	left     map[string]bool      // files of other processes that the counters have
	stored   map[string]bool      // files of other processes that the usage file has, as it was read
	added    []users.User
	networks runTimeNetworks
	loads    int // how often the files were read
	status   Status
	warned   time.Time
	replace  func(dir, name string, b []byte) error
}

// usageSize is the size of the usage file: the next one has about the same.
type usageSize struct{ counters, bytes int }

// Status is how a Store does.
type Status struct {
	// Directory is where it is.
	Directory string
	// Err is why nothing is written now, nil if all is well. Since is when that began.
	Err   error
	Since time.Time
	// Written is the time of the counters that were last written, zero for never.
	Written time.Time
	// Damaged are the files that were found damaged and renamed, by their new names.
	Damaged []string
}

// ErrLocked means that another process has the directory.
var ErrLocked = errors.New("another process has the store")

// Open reads the store in dir, which it makes if it is missing. It returns a Store in any
// case: see Status. The caller calls Run and Close.
func Open(dir string, options Options) *Store {
	s := &Store{
		dir: dir, log: options.Log, wall: options.Time, closing: make(chan struct{}),
		base: make(map[string]direction), replace: replaceFile,
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.wall == nil {
		s.wall = time.Now
	}
	s.status.Directory = dir
	s.mu.Lock()
	defer s.mu.Unlock()
	s.day = users.DayOf(s.wall().UTC())
	s.note(s.prepare())
	return s
}

// load reads the files. It returns an error if one cannot be read. A file that was
// damaged is set aside, and counts as one that is missing.
func (s *Store) load() error {
	s.loads++
	u, err := readFile(s, kindUsage, kindUsage, parseUsage)
	list, usersErr := readFile(s, kindUsers, kindUsers, decodeUsers)
	if usersErr == nil {
		s.added = list
	}
	networksErr := s.loadNetworks()
	if err == nil {
		if u == nil {
			u = &usage{day: users.DayOf(s.wall().UTC())}
		}
		s.day, s.base, s.loaded = u.day, u.base, u.counters
		_, s.written = appendUsage(nil, u)
		s.stored = make(map[string]bool, len(u.left))
		for _, name := range u.left {
			s.stored[leftPrefix+name] = true
		}
	}
	return errors.Join(err, usersErr, networksErr)
}

// prepare makes the store ready to be written: it takes the lock and reads the files, so
// that nothing is replaced that was not read. What another process has written since this
// one has read it is added to the counters.
func (s *Store) prepare() error {
	if s.ready {
		return nil
	}
	err := makeDirectory(s.dir)
	if err == nil && s.lock == nil {
		s.lock, err = lockDirectory(s.dir)
	}
	before := s.loaded
	if loadErr := s.load(); err == nil {
		err = loadErr
	}
	if err == nil {
		s.removeBegun()
	}
	if s.source != nil {
		s.source.Merge(before, s.loaded)
	}
	s.ready = err == nil
	return err
}

// Counters returns the counters: before Run those that were read, of earlier runs, and
// from then on those of the source. The caller must not change them.
func (s *Store) Counters() []users.Counter {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counters()
}

// counters is Counters. Under mu.
func (s *Store) counters() []users.Counter {
	if s.source != nil {
		return s.source.Counters(nil)
	}
	return s.loaded
}

// Status returns how the store does. It waits for no disk, as other methods do.
func (s *Store) Status() Status { return *s.shown.Load() }

// show has Status return the status as it is now. Under mu.
func (s *Store) show() {
	status := s.status
	s.shown.Store(&status)
}

// Run writes the counters of source every three seconds, if they have changed, until ctx
// ends or Close is called. It returns ctx's error, or nil.
func (s *Store) Run(ctx context.Context, source Source) error {
	s.Begin(source)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.Flush()
		case <-s.closing:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Begin makes source what is written, by Flush and Close. It has the counters that were
// read. Run calls it.
func (s *Store) Begin(source Source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.source = source; s.ready {
		s.loaded = nil
	}
}

// Flush writes the counters now. It returns the error if that fails.
func (s *Store) Flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flush()
}

// flush is Flush under mu.
func (s *Store) flush() error {
	if s.source == nil {
		return nil
	}
	err := s.prepare()
	if err == nil {
		err = s.addLeft()
	}
	if err == nil {
		err = s.writeUsage()
	}
	if err == nil && s.networks.unstored != nil {
		err = s.writeNetworks()
	}
	s.note(err)
	return err
}

// Close ends Run, writes the counters and gives the directory to other processes. If one of
// these has it, it leaves what this process has counted for that one to write. It returns the
// error if something could not be written.
func (s *Store) Close() error {
	s.close.Do(func() { close(s.closing) })
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.flush() // and no other write until leave: what both have would count twice
	if err == ErrLocked && s.source != nil {
		err = s.leave()
	}
	s.source = nil
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
		s.lock, s.ready = nil, false
	}
	return err
}

// note changes the status after an attempt to write, and logs it.
func (s *Store) note(err error) {
	defer s.show()
	now := s.wall()
	switch {
	case err == nil && s.status.Err != nil:
		message := "the store is written again"
		if s.status.Err == ErrLocked {
			message = "this process writes the store now: the other one has ended"
		}
		s.log.Info(message, "directory", s.dir, "after", now.Sub(s.status.Since).Round(time.Second))
		s.status.Err, s.status.Since, s.warned = nil, time.Time{}, time.Time{}
	case err == ErrLocked:
		if s.status.Err != err {
			s.status.Err, s.status.Since, s.warned = err, now, time.Time{}
			s.log.Info("another process has the store: usage is counted in memory until that one has ended", "directory", s.dir)
		}
	case err != nil:
		if s.status.Err == nil {
			s.status.Since = now
		}
		if s.status.Err = err; s.warned.IsZero() || now.Sub(s.warned).Abs() >= warnInterval {
			s.warned = now
			WarnNotWritten(s.log, s.dir, err)
		}
	}
}

// WarnNotWritten logs that the store in dir cannot be written.
func WarnNotWritten(log *slog.Logger, dir string, err error) {
	log.Warn("the store is not written: users' usage is kept in memory, and is lost with the process", "directory", dir, "error", err)
}

// errNotStored is the error of a change that could not be stored.
func errNotStored(err error) error { return fmt.Errorf("store: %w", err) }
