package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"strconv"
	"strings"

	"github.com/mtwire/mtwire/internal/service/users"
)

// A file is a line and a payload:
//
//	mtwire store VERSION KIND LENGTH CHECKSUM\n
//
// LENGTH is that of the payload in bytes, CHECKSUM the CRC-32C of the line up to the
// space before it and of the payload, in eight hexadecimal digits. A file is complete,
// or it is damaged: nothing follows the payload.
//
// The payload of usage and day files is a sequence of records, of unsigned varints as in
// encoding/binary, and of strings: their length as a varint, and their bytes. Dates are
// signed varints. The payloads of the users file and of
// the networks file are JSON.

// version is the version of the format.
const version = 1

// The kinds of files.
const (
	kindUsage    = "usage"
	kindLeft     = "left"
	kindDay      = "day"
	kindUsers    = "users"
	kindNetworks = "networks"
)

const (
	// maxFile limits the size of a file that is read, in bytes: a million users.
	maxFile = 256 << 20
	// maxHeader limits the length of the header in bytes.
	maxHeader = 100
	// maxText limits the length of a string in a record, in bytes.
	maxText = 1 << 10
	// minUsage and minDay are the lengths of the shortest records.
	minUsage, minDay = 11, 3
)

var (
	errShort    = errors.New("the file is incomplete")
	errHeader   = errors.New("the file does not begin with the header of a store")
	errChecksum = errors.New("the checksum is wrong")
	errRecord   = errors.New("a record is malformed")
	errVersion  = errors.New("another version of mtwire has written it")

	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// makeFile returns a file.
func makeFile(kind string, payload []byte) []byte {
	b := make([]byte, 0, maxHeader+len(payload))
	b = fmt.Appendf(b, "mtwire store %d %s %d", version, kind, len(payload))
	sum := crc32.Update(crc32.Checksum(b, castagnoli), castagnoli, payload)
	b = fmt.Appendf(b, " %08x\n", sum)
	return append(b, payload...)
}

// parseFile returns the payload of a file of that kind.
func parseFile(b []byte, kind string) (payload []byte, err error) {
	end := bytes.IndexByte(b[:min(len(b), maxHeader)], '\n')
	if end < 0 {
		if len(b) < maxHeader {
			return nil, errShort
		}
		return nil, errHeader
	}
	line, payload := b[:end], b[end+1:]
	checked := bytes.LastIndexByte(line, ' ')
	fields := bytes.Split(line, []byte{' '})
	if len(fields) != 6 || string(fields[0]) != "mtwire" || string(fields[1]) != "store" {
		return nil, errHeader
	}
	length, err := strconv.Atoi(string(fields[4]))
	if err != nil || length < 0 {
		return nil, errHeader
	}
	if len(payload) < length {
		return nil, errShort
	}
	sum := crc32.Update(crc32.Checksum(line[:checked], castagnoli), castagnoli, payload)
	if string(fields[5]) != fmt.Sprintf("%08x", sum) {
		return nil, errChecksum
	}
	switch {
	case string(fields[2]) != strconv.Itoa(version):
		return nil, fmt.Errorf("%w: %s", errVersion, fields[2])
	case string(fields[3]) != kind || length != len(payload):
		return nil, errHeader
	}
	return payload, nil
}

// usage is the content of the usage file.
type usage struct {
	day      users.Day // of which base is the beginning
	counters []users.Counter
	base     map[string]direction // the counters at the beginning of day, without zeros
	left     []string             // files of other processes that counters have; see left.go
}

// leftRecord is the name of the record of left.
const leftRecord = "\x00" + kindLeft

// direction is bytes up and down.
type direction struct{ up, down int64 }

// appendUsage appends the payload of the usage file. It also returns a sum of all counters in
// any order, which is another one if something has changed.
//
// What u.left has is the schedule of a record that no user's name has. Programs that do not know
// it take it for that of a user without usage that was removed, and drop it.
func appendUsage(b []byte, u *usage) (payload []byte, sum uint64) {
	b = binary.AppendVarint(b, int64(u.day))
	records := len(u.counters)
	if len(u.left) > 0 {
		records++
	}
	b = binary.AppendUvarint(b, uint64(records))
	sum = uint64(u.day)
	for i := range u.counters {
		c, start := &u.counters[i], len(b)
		base := u.base[c.Name]
		b = appendText(b, c.Name)
		for _, n := range [...]int64{c.Up, c.Down, c.BaseUp, c.BaseDown} {
			b = binary.AppendUvarint(b, uint64(n))
		}
		b = appendText(b, c.Schedule)
		b = binary.AppendVarint(b, int64(c.Period))
		b = binary.AppendVarint(b, int64(c.Behind))
		for _, n := range [...]int64{c.Seen, base.up, base.down} {
			b = binary.AppendUvarint(b, uint64(n))
		}
		record := b[start:]
		sum += uint64(crc32.ChecksumIEEE(record))<<32 | uint64(crc32.Checksum(record, castagnoli))
	}
	if len(u.left) > 0 {
		b = append(appendText(b, leftRecord), 0, 0, 0, 0)
		b = append(appendText(b, strings.Join(u.left, " ")), 0, 0, 0, 0, 0)
	}
	return b, sum
}

// parseUsage parses what appendUsage appends.
func parseUsage(payload []byte) (*usage, error) {
	r := reader{b: payload}
	u := &usage{day: r.day(), base: make(map[string]direction)}
	n := r.count(minUsage)
	u.counters = make([]users.Counter, 0, n)
	schedules := make(map[string]string) // few differ
	names := make(map[string]struct{}, n)
	for range n {
		c := users.Counter{Name: string(r.text())}
		c.Up, c.Down, c.BaseUp, c.BaseDown = r.number(), r.number(), r.number(), r.number()
		text := r.text()
		schedule, known := schedules[string(text)]
		if !known {
			schedule = string(text)
			schedules[schedule] = schedule
		}
		c.Schedule, c.Period, c.Behind, c.Seen = schedule, r.day(), r.day(), r.number()
		base := direction{r.number(), r.number()}
		if _, twice := names[c.Name]; twice || c.BaseUp > c.Up || c.BaseDown > c.Down || base.up > c.Up || base.down > c.Down {
			return nil, errRecord
		}
		names[c.Name] = struct{}{}
		if c.Name == leftRecord && c.Up|c.Down|c.Seen == 0 {
			u.left = strings.Fields(c.Schedule)
			continue
		}
		if base != (direction{}) {
			u.base[c.Name] = base
		}
		u.counters = append(u.counters, c)
	}
	return u, r.end()
}

// Record is a user's bytes on one day.
type Record struct {
	Name     string
	Up, Down int64
}

// appendDay appends the payload of a day file.
func appendDay(b []byte, records []Record) []byte {
	b = binary.AppendUvarint(b, uint64(len(records)))
	for _, r := range records {
		b = appendText(b, r.Name)
		b = binary.AppendUvarint(b, uint64(r.Up))
		b = binary.AppendUvarint(b, uint64(r.Down))
	}
	return b
}

// parseDay parses what appendDay appends.
func parseDay(payload []byte) ([]Record, error) {
	r := reader{b: payload}
	n := r.count(minDay)
	records := make([]Record, 0, n)
	for range n {
		records = append(records, Record{string(r.text()), r.number(), r.number()})
	}
	return records, r.end()
}

func appendText(b []byte, text string) []byte {
	b = binary.AppendUvarint(b, uint64(len(text)))
	return append(b, text...)
}

// reader reads records. After an error it returns zeros, and end returns the error.
type reader struct {
	b      []byte
	failed bool
}

// number reads a number that is not negative.
func (r *reader) number() int64 {
	n, length := binary.Uvarint(r.b)
	if length <= 0 || n > math.MaxInt64 {
		r.fail()
		return 0
	}
	r.b = r.b[length:]
	return int64(n)
}

// day reads a date.
func (r *reader) day() users.Day {
	n, length := binary.Varint(r.b)
	if length <= 0 || n != int64(int32(n)) {
		r.fail()
		return 0
	}
	r.b = r.b[length:]
	return users.Day(n)
}

// count reads how many records follow, each of which has at least least bytes.
func (r *reader) count(least int) int {
	n := r.number()
	if n > int64(len(r.b)/least) {
		r.fail()
		return 0
	}
	return int(n)
}

// text reads a string, which is valid as long as the payload.
func (r *reader) text() []byte {
	n := r.number()
	if n > int64(min(len(r.b), maxText)) {
		r.fail()
		return nil
	}
	text := r.b[:n]
	r.b = r.b[n:]
	return text
}

func (r *reader) fail() { r.b, r.failed = nil, true }

// end returns an error if a record was malformed, or if something follows the last.
func (r *reader) end() error {
	if r.failed || len(r.b) > 0 {
		return errRecord
	}
	return nil
}
