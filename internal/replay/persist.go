package replay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// writeInterval is how long ids are collected for one write.
	writeInterval = 100 * time.Millisecond
	// pollInterval is the time between two readings of what other processes
	// wrote, and between attempts to write after an error.
	pollInterval = time.Second
	// syncInterval is the least time between two calls of fsync. See Run.
	syncInterval = 5 * time.Second
	// errorInterval is the least time between two calls of Options.DiskError.
	errorInterval = time.Minute
)

// disk is the part of a Memory that uses the disk.
type disk struct {
	wake    chan struct{} // has a value when ids are pending
	closing chan struct{}
	close   sync.Once // closes closing

	mu      sync.Mutex // held by Open, Run and Close
	logs    *logs
	report  func(error)
	failed  bool          // the last write failed: the next one waits for a poll
	errorAt time.Duration // when an error was reported; 0 means never
}

// Open returns a memory that is kept in dir: New and Keep.
func Open(dir string, options Options) (*Memory, error) {
	m := New(options)
	if err := m.Keep(dir); err != nil {
		return nil, err
	}
	return m, nil
}

// Keep has the memory kept in dir from now on, and adds the ids that are there. It
// makes dir if it is missing. It fails only if dir cannot be made or listed; m is
// unchanged then. It is called once at most, before any other method. The caller
// calls Run and Close; ids are written by these two.
//
// Several processes may use dir at the same time, such as the old and the new one
// of an upgrade: each appends whole records to the same logs (O_APPEND), and reads
// once a second what the others appended. There is no lock that a dead process
// could leave behind, and no handing over that it could fail to do. An id that
// another process has seen is known about a second later. The smallest bounds of
// all processes apply to the logs.
func (m *Memory) Keep(dir string) error {
	d := &disk{wake: make(chan struct{}, 1), closing: make(chan struct{})}
	m.disk = d
	d.report = m.reportError
	d.logs = &logs{
		dir:          dir,
		window:       m.options.Window,
		logTime:      max(m.sliceTime, time.Second),
		maxLogBytes:  int64(m.sliceEntries) * recordLength,
		maxTotalSize: int64(m.options.Entries) * recordLength,
		wall:         func() time.Time { return m.options.Time().Round(0) },
		elapsed:      m.elapsed,
		load:         m.load,
		report:       d.report,
		known:        make(map[string]*logFile),
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.logs.open(); err != nil {
		m.disk = nil
		return fmt.Errorf("replay: %w", err)
	}
	return nil
}

// Run writes ids to the logs and reads those of other processes, until ctx ends.
// Then it writes the rest, and returns ctx's error. After Close it returns nil.
// Without a directory it only waits for ctx.
//
// An id is written about 100 ms after Seen, so a crash of the process loses the ids
// of that time. fsync is called for it within six seconds, so a crash of the
// machine loses the ids of that time. Their handshakes, if they were recorded, are
// answered once more. To call fsync for each would keep a slow disk busy and wear
// out a memory card, against an attacker that knows the moment of a power cut.
func (m *Memory) Run(ctx context.Context) error {
	if m.disk == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	d := m.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	var write <-chan time.Time
	for {
		select {
		case <-d.wake:
			if write == nil && !d.failed {
				write = time.After(writeInterval)
			}
		case <-write:
			write = nil
			m.write()
		case <-poll.C:
			m.poll()
		case <-d.closing:
			return nil // Close writes the rest
		case <-ctx.Done():
			m.write()
			d.check(d.logs.sync())
			return ctx.Err()
		}
	}
}

// Close ends Run and waits for it, writes what is pending, calls fsync and closes
// the log. It returns the error of these, if there is one. Seen works on, in memory
// only.
func (m *Memory) Close() error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	if m.disk == nil {
		return nil
	}
	d := m.disk
	d.close.Do(func() { close(d.closing) })
	d.mu.Lock()
	defer d.mu.Unlock()
	err := m.write()
	if closeErr := d.check(d.logs.close()); err == nil {
		err = closeErr
	}
	return err
}

// errSlow means that ids came faster than they were written.
var errSlow = errors.New("the disk is too slow")

// poll does what is done once a second.
func (m *Memory) poll() {
	d := m.disk
	m.mu.Lock()
	m.expire(m.elapsed()) // also while no client connects
	lost := m.lost
	m.mu.Unlock()
	m.write()
	d.check(d.logs.syncIfDue())
	d.check(d.logs.scan())
	if lost > 0 {
		d.report(errSlow)
	}
}

// writeBatch is how many ids are written at once: about 20 KB.
const writeBatch = 1024

// write writes the pending ids. They stay pending if that fails.
func (m *Memory) write() error {
	d := m.disk
	for {
		m.mu.Lock()
		batch := m.pending[:min(len(m.pending), writeBatch)] // Seen changes only what follows
		m.mu.Unlock()
		if len(batch) == 0 {
			d.failed = false
			return nil
		}
		n, err := d.logs.append(batch)
		m.mu.Lock()
		if m.pending = m.pending[n:]; len(m.pending) == 0 {
			m.pending = nil
		}
		m.mu.Unlock()
		if err != nil {
			d.failed = true
			return d.check(err)
		}
	}
}

// queue adds id to the pending ones. The caller holds m.mu.
func (m *Memory) queue(id [16]byte) {
	if len(m.pending) >= maxPending {
		m.lost++
		return
	}
	m.pending = append(m.pending, id)
	if len(m.pending) > 1 { // write takes all of them
		return
	}
	select {
	case m.disk.wake <- struct{}{}:
	default:
	}
}

// check reports err if it is one, and returns it.
func (d *disk) check(err error) error {
	if err != nil {
		d.report(err)
	}
	return err
}

func (m *Memory) reportError(err error) {
	d, now := m.disk, m.elapsed()
	if d.errorAt != 0 && now-d.errorAt < errorInterval {
		return
	}
	d.errorAt = now
	m.mu.Lock()
	lost := m.lost
	m.lost = 0
	m.mu.Unlock()
	if lost > 0 {
		err = fmt.Errorf("%w; %d handshakes will not be known after a restart", err, lost)
	}
	if m.options.DiskError != nil {
		m.options.DiskError(fmt.Errorf("replay: %w", err))
	}
}
