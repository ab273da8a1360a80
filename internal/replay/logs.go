package replay

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// namePrefix begins the names of all logs. The number is the version of the
	// format.
	namePrefix = "replay1-"
	// maxLogs is how many logs are kept at most. There are 13 by their time and
	// 16 by their size, and more only if the wall clock is set again and again.
	maxLogs = 256
	// clockTolerance is the least step of the wall clock that is corrected.
	clockTolerance = time.Minute
	// readLength is how much of a log is read at once.
	readLength = 64 << 10
)

// logs is a directory of logs. A log is named replay1-TIME-NUMBER, after the wall
// time in Unix seconds at which its part of the window began, so that processes
// which share the directory append to the same log; NUMBER counts from 0, and the
// next is begun when the one before is full. Old logs are removed as a whole.
//
// The name decides nothing else: the age of a log is the time since its last
// record, which is its modification time for a process that begins, and measured by
// the monotonic clock from then on. An id that is kept for too long does no harm and
// takes space that is bounded; one that is forgotten may be replayed. So steps of the
// wall clock have these effects:
//
//   - While a process runs, a step changes nothing in its memory, and the process
//     changes the modification times, so that each log keeps its age.
//   - While none runs, a step back leaves logs whose time has not come. Their time
//     is changed to the present, so they are kept for one more window, and no longer.
//   - While none runs, a step forward cannot be told from the passing of time: logs
//     expire early, at worst all of them. A clock that is behind at each start of the
//     machine, and set while the process runs, is not such a step.
type logs struct {
	dir          string
	window       time.Duration
	logTime      time.Duration // a log's part of the window
	maxLogBytes  int64
	maxTotalSize int64
	wall         func() time.Time
	elapsed      func() time.Duration
	load         func(id [16]byte, at time.Duration)
	report       func(error)

	known map[string]*logFile
	buf   []byte // of append

	file     *os.File // that is appended to, or nil
	name     string   // of file
	unsynced bool     // file has bytes that fsync was not called for
	syncedAt time.Duration

	// The clocks at the last scan.
	lastWall    time.Time
	lastElapsed time.Duration
}

// logFile is what is known of a log.
type logFile struct {
	name   string
	size   int64         // at the last scan
	read   int64         // size when it was read
	parsed int64         // up to where it was parsed: the rest is no whole record
	last   time.Duration // when the last record was written, as Memory.elapsed
}

// open makes the directory and loads all ids.
func (l *logs) open() error {
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return err
	}
	return l.scan()
}

// scan lists the directory, removes logs and reads what was appended to the others.
// The error is that of the listing; those of single logs are reported.
func (l *logs) scan() error {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return err
	}
	now, wall := l.elapsed(), l.wall()
	l.correctStep(now, wall)
	found := make([]*logFile, 0, len(entries))
	for _, entry := range entries {
		if _, _, ok := parseName(entry.Name()); !ok {
			continue
		}
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() {
			found = append(found, l.update(info, now, wall))
		}
	}
	clear(l.known)
	for _, f := range found {
		l.known[f.name] = f
	}
	if l.file != nil && l.known[l.name] == nil {
		l.check(l.close()) // removed by another process, or by the operator
	}
	slices.SortFunc(found, func(a, b *logFile) int {
		return cmp.Or(cmp.Compare(a.last, b.last), strings.Compare(a.name, b.name))
	})
	for _, f := range l.prune(found, now) {
		if f.size > f.read {
			l.check(l.read(f))
		}
	}
	return nil
}

// update returns what is known of a file, with its present size.
func (l *logs) update(info fs.FileInfo, now time.Duration, wall time.Time) *logFile {
	f, size := l.known[info.Name()], info.Size()
	switch {
	case f == nil:
		age := wall.Sub(info.ModTime())
		if age < -clockTolerance {
			l.check(os.Chtimes(filepath.Join(l.dir, info.Name()), time.Time{}, wall))
		}
		f = &logFile{name: info.Name(), last: now - max(0, age)}
	case size > f.size:
		f.last = now
	}
	f.size = size
	f.read, f.parsed = min(f.read, size), min(f.parsed, size)
	return f
}

// correctStep changes the modification times of all logs if the wall clock was set
// since the last scan.
func (l *logs) correctStep(now time.Duration, wall time.Time) {
	step := wall.Sub(l.lastWall) - (now - l.lastElapsed)
	first := l.lastWall.IsZero()
	l.lastWall, l.lastElapsed = wall, now
	if first || step.Abs() < clockTolerance {
		return
	}
	for _, f := range l.known {
		l.check(os.Chtimes(filepath.Join(l.dir, f.name), time.Time{}, wall.Add(f.last-now)))
	}
}

// prune removes logs that have expired, and the oldest ones that are too much in
// total, and returns the others. found begins with the oldest.
func (l *logs) prune(found []*logFile, now time.Duration) (kept []*logFile) {
	var total int64
	first := len(found)
	for first > 0 && len(found)-first < maxLogs && now-found[first-1].last < l.window {
		// A log that is too large was not written by this package: sizes may
		// not be added before they are compared.
		size := found[first-1].size
		if size > l.maxTotalSize-total {
			break
		}
		total += size
		first--
	}
	for _, f := range found[:first] {
		if f.name == l.name {
			l.check(l.close())
		}
		l.check(os.Remove(filepath.Join(l.dir, f.name)))
		delete(l.known, f.name)
	}
	return found[first:]
}

// read loads the ids that were appended to a log since it was last read.
func (l *logs) read(f *logFile) error {
	file, err := os.Open(filepath.Join(l.dir, f.name))
	if err != nil {
		return err
	}
	defer file.Close()
	buf := make([]byte, min(readLength, f.size-f.parsed))
	for f.size-f.parsed >= recordLength {
		n, err := file.ReadAt(buf[:min(int64(len(buf)), f.size-f.parsed)], f.parsed)
		parsed := parse(buf[:n], func(id [16]byte) { l.load(id, f.last) })
		f.parsed += int64(parsed)
		if err != nil && err != io.EOF {
			return err
		}
		if parsed == 0 {
			break // it has become shorter
		}
	}
	f.read = f.size
	return nil
}

// append writes the records of ids, and returns how many it wrote.
func (l *logs) append(ids [][16]byte) (written int, err error) {
	for written < len(ids) {
		room, err := l.openForAppend()
		if err != nil {
			return written, err
		}
		l.buf = l.buf[:0]
		for _, id := range ids[written:min(int64(len(ids)), int64(written)+room)] {
			l.buf = appendRecord(l.buf, id)
		}
		n, err := l.file.Write(l.buf)
		l.unsynced = l.unsynced || n > 0
		written += n / recordLength
		if err != nil {
			l.check(l.close())
			return written, err
		}
	}
	return written, nil
}

// openForAppend makes l.file a log of the present time with room for records, and
// returns for how many. Processes that append at the same time may exceed that.
func (l *logs) openForAppend() (room int64, err error) {
	begin := max(0, l.wall().Unix())
	begin -= begin % int64(l.logTime/time.Second)
	number := 0
	if l.file != nil {
		if room := l.room(); room > 0 && strings.HasPrefix(l.name, logName(begin, "")) {
			return room, nil
		}
		l.check(l.close())
	}
	for name := range l.known {
		if b, n, _ := parseName(name); b == begin {
			number = max(number, n)
		}
	}
	for ; ; number++ {
		l.name = logName(begin, strconv.Itoa(number))
		l.file, err = os.OpenFile(filepath.Join(l.dir, l.name), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		if err != nil {
			l.file, l.name = nil, ""
			return 0, err
		}
		if room := l.room(); room > 0 {
			if l.known[l.name] == nil {
				syncDirectory(l.dir)
				l.known[l.name] = &logFile{name: l.name, last: l.elapsed()}
			}
			return room, nil
		}
		l.check(l.close())
		if number > maxLogs*slicesPerMemory {
			return 0, errors.New("no log has room")
		}
	}
}

// room returns how many records l.file has room for.
func (l *logs) room() int64 {
	info, err := l.file.Stat()
	if err != nil {
		return 0
	}
	return (l.maxLogBytes - info.Size() + recordLength - 1) / recordLength
}

// syncIfDue is sync at most every syncInterval.
func (l *logs) syncIfDue() error {
	if l.elapsed()-l.syncedAt < syncInterval {
		return nil
	}
	return l.sync()
}

// sync calls fsync if something was written since.
func (l *logs) sync() error {
	if !l.unsynced {
		return nil
	}
	l.unsynced, l.syncedAt = false, l.elapsed()
	return l.file.Sync()
}

// close ends the log that is appended to.
func (l *logs) close() error {
	if l.file == nil {
		return nil
	}
	err := errors.Join(l.sync(), l.file.Close())
	l.file, l.name = nil, ""
	return err
}

// check reports errors of single logs. Another process may have removed one.
func (l *logs) check(err error) {
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.report(err)
	}
}

func logName(begin int64, number string) string {
	return fmt.Sprintf("%s%d-%s", namePrefix, begin, number)
}

// parseName parses the name of a log. Other files are left alone.
func parseName(name string) (begin int64, number int, ok bool) {
	rest, _ := strings.CutPrefix(name, namePrefix)
	first, second, _ := strings.Cut(rest, "-")
	begin, err1 := strconv.ParseInt(first, 10, 64)
	n, err2 := strconv.ParseInt(second, 10, 32)
	ok = err1 == nil && err2 == nil && begin >= 0 && n >= 0 && n < math.MaxInt32 && name == logName(begin, strconv.FormatInt(n, 10))
	return begin, int(n), ok
}

// syncDirectory makes a new file's name survive a crash of the machine, on systems
// and file systems that can do that.
func syncDirectory(dir string) {
	if d, err := os.Open(dir); err == nil {
		d.Sync()
		d.Close()
	}
}
