// Package replay is a replay cache for handshakes: it remembers the id of each for
// two days, so that a recorded handshake is not answered again. It is kept across
// restarts and upgrades in append-only logs, whose writing is off the path of the
// handshakes.
//
//	replay.go  the memory: Seen, time slices, bounds
//	set.go     fingerprints of one slice, open addressing
//	persist.go Open, Run, Close: when the disk is used
//	logs.go    the directory of logs: append, read, remove, clock steps
//	record.go  layout of a log
package replay

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"slices"
	"sync"
	"time"
)

const (
	// DefaultWindow is the default for Options.Window.
	DefaultWindow = 48 * time.Hour
	// DefaultEntries is the default for Options.Entries: 12 handshakes a second
	// for two days.
	DefaultEntries = 1 << 21

	// slicesPerWindow is how many slices a window has if the number of ids does
	// not end them earlier: of four hours by default. An id is remembered for a
	// window and up to two slices more. With more of them Seen takes longer.
	slicesPerWindow = 12
	// slicesPerMemory is how many slices a full memory has at least, so that the
	// oldest of them, which makes room, is a small part of all ids.
	slicesPerMemory = 16

	// maxPending is how many ids wait for the disk, 16 bytes each. More are not
	// written.
	maxPending = 1 << 16
)

// Options are the bounds of a Memory and its reports. The zero value is good.
type Options struct {
	// Window is how long an id is remembered at least, unless there are too many.
	// 0 means DefaultWindow.
	Window time.Duration
	// Entries is how many ids are remembered at most. 0 means DefaultEntries. One
	// takes up to 16 bytes of memory and 20 bytes of disk. Neither is allocated
	// before it is needed.
	Entries int

	// Full is called when ids are forgotten before their time to make room. reach
	// is the age of the oldest that are left. It is called once in a window at
	// most, by the goroutine that called Seen, which it must not block.
	Full func(reach time.Duration)
	// DiskError is called when a log cannot be read or written, once a minute at
	// most, by the goroutine that called Open, Run or Close. The memory works
	// without its logs meanwhile, and keeps up to 65536 ids to write later.
	DiskError func(error)

	// Time is the wall clock, by which logs are dated. Nil means time.Now. Within
	// one process only the monotonic clock counts.
	Time func() time.Time
}

// Memory remembers ids for a window of time. Its methods may be called
// concurrently. New and Open make one.
//
// An id is a uniformly random part of a handshake, which the client chose. Only
// ids of authenticated clients belong into a Memory, so that others cannot fill
// it.
//
// Memory has a fingerprint of 64 bits for each id: the first half of the id's
// encryption by AES-128 under a key that only this process has. AES is a
// pseudorandom permutation, so a client that chooses ids can neither make two
// fingerprints collide nor crowd the hash tables. A new id is taken for a
// remembered one, and its client refused once, if its fingerprint equals one of
// n others: with a probability of n/2^64, which is 1.1e-13 with DefaultEntries and
// below 1e-9 up to 2^34 entries.
//
// Fingerprints are in slices by the time when they were added. A slice is dropped
// as a whole, so nothing is ever deleted from a hash table.
type Memory struct {
	options      Options
	sliceTime    time.Duration
	sliceEntries int
	start        time.Time // with a monotonic reading
	block        cipher.Block
	disk         *disk // nil without a directory

	mu       sync.Mutex
	in, out  [aes.BlockSize]byte // on the heap already: arguments of block escape
	slices   []*slice            // the oldest first
	touched  uint64              // makes the compiler keep the first reads of has
	entries  int                 // in all slices
	reported time.Duration       // when Full was called; 0 means never
	pending  [][16]byte          // to be written
	lost     int                 // ids that did not fit into pending, since the last report
	closed   bool                // nothing is written any more
}

// slice has the ids of a part of the window.
type slice struct {
	set
	first, last time.Duration // when ids were added: time since Memory.start
}

// New returns a memory without a directory: it is lost with the process. It needs
// neither Run nor Close.
func New(options Options) *Memory {
	if options.Window <= 0 {
		options.Window = DefaultWindow
	}
	if options.Entries <= 0 {
		options.Entries = DefaultEntries
	}
	if options.Time == nil {
		options.Time = time.Now
	}
	var key [16]byte
	rand.Read(key[:])
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic("internal error: " + err.Error())
	}
	return &Memory{
		options:      options,
		sliceTime:    options.Window / slicesPerWindow,
		sliceEntries: max(1, options.Entries/slicesPerMemory),
		start:        time.Now(),
		block:        block,
	}
}

// Seen remembers id, and reports whether it was remembered already. An id that was
// is not remembered for longer.
//
// Seen does no I/O and does not wait for any. It looks id up in each slice, which
// takes about a microsecond in a full memory.
func (m *Memory) Seen(id [16]byte) bool {
	m.mu.Lock()
	now := m.elapsed()
	m.expire(now)
	f := m.fingerprint(id)
	if m.has(f) {
		m.mu.Unlock()
		return true
	}
	full := m.insert(f, now)
	var reach time.Duration
	if full = full && (m.reported == 0 || now-m.reported >= m.options.Window); full {
		m.reported, reach = now, now-m.slices[0].first
	}
	if m.disk != nil && !m.closed {
		m.queue(id)
	}
	m.mu.Unlock()
	if full && m.options.Full != nil {
		m.options.Full(reach)
	}
	return false
}

// has reports whether f is in a slice. Most of its time is the wait for memory, so
// it first reads a slot of each slice, which the processor does at the same time.
func (m *Memory) has(f uint64) bool {
	i := f >> tableShift
	for _, s := range m.slices {
		m.touched ^= s.tables[i].touch(f)
	}
	for _, s := range m.slices {
		if _, found := s.tables[i].find(f); found {
			return true
		}
	}
	return false
}

// load remembers an id from a log, which was written at time at. It looks for it
// in the newest slice alone: an id that this process wrote and now reads is there,
// and one that is remembered twice does no harm.
func (m *Memory) load(id [16]byte, at time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.insert(m.fingerprint(id), at)
}

// elapsed returns the monotonic time since the memory was made, in which steps of
// the wall clock do not show. It is positive.
func (m *Memory) elapsed() time.Duration { return time.Since(m.start) + 1 }

// fingerprint returns the fingerprint of id, which is not 0.
func (m *Memory) fingerprint(id [16]byte) uint64 {
	m.in = id
	m.block.Encrypt(m.out[:], m.in[:])
	return max(1, binary.LittleEndian.Uint64(m.out[:]))
}

// insert adds f to the newest slice, and reports whether the oldest slice had to
// make room.
func (m *Memory) insert(f uint64, at time.Duration) (full bool) {
	if n := len(m.slices); n == 0 || at-m.slices[n-1].first >= m.sliceTime || m.slices[n-1].n >= m.sliceEntries {
		m.slices = append(m.slices, &slice{first: at, last: at})
	}
	newest := m.slices[len(m.slices)-1]
	newest.last = max(newest.last, at)
	if newest.tables[f>>tableShift].add(f) {
		newest.n++
		m.entries++
	}
	for m.entries > m.options.Entries {
		m.drop()
		full = true
	}
	return full
}

// expire drops the slices whose window has passed.
func (m *Memory) expire(now time.Duration) {
	for len(m.slices) > 0 && now-m.slices[0].last >= m.options.Window {
		m.drop()
	}
}

// drop forgets the oldest slice.
func (m *Memory) drop() {
	m.entries -= m.slices[0].n
	m.slices = slices.Delete(m.slices, 0, 1)
}
