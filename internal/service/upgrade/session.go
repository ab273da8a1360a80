// Package upgrade moves a running proxy into another process: its listeners and its live
// sessions, as descriptors over a Unix socket. docs/upgrade.md has the layout of every
// message, the steps, and what happens when one fails.
//
//	session.go   a session's state as bytes
//	message.go   the messages, without their descriptors
//	handover.go  the old process: listeners and sessions out
//	takeover.go  the new process: listeners and sessions in
//	program.go   the new program, which is checked before it is started
//	previous.go  the program before, which is kept while the new one is on trial
//	bysocket.go  a process that the old one has not started
//	socket_linux.go  messages with descriptors; other.go: other systems
//
// session.go and message.go do no I/O.
package upgrade

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/obfuscation"
	"github.com/mtwire/mtwire/proxy"
)

const (
	// maxText is the maximum length of a user's name, an upstream and an address, and
	// maxLengths the maximum number of lengths of records, of each kind.
	maxText    = 1024
	maxLengths = 255

	// MaxSession is the maximum length of an encoded session, in bytes.
	MaxSession = 5 << 10
)

// Flags of an encoded session.
const (
	hasClient = 1 << iota
	upEnded
	downEnded
	hasDownload
	hasRecords
	hasFirstPackets
	allFlags = 1<<iota - 1
)

// ErrSession means that bytes are not those of a session.
var ErrSession = errors.New("upgrade: not the state of a session")

// AppendSession appends a session's state to b. It fails if a field is longer than the
// format allows.
func AppendSession(b []byte, s *proxy.SessionState) ([]byte, error) {
	start := b
	var flags byte
	flag := func(value byte, set bool) {
		if set {
			flags |= value
		}
	}
	flag(hasClient, s.Client.IsValid())
	flag(upEnded, s.Up.Ended)
	flag(downEnded, s.Down.Ended)
	flag(hasDownload, s.DownReceive != nil && s.DownSend != nil)
	flag(hasRecords, s.Records != nil && s.RecordLengths != nil)
	flag(hasFirstPackets, s.FirstPackets != nil)
	b = append(b, flags, byte(s.Mode), byte(s.Protocol), byte(s.Stage))
	b = binary.BigEndian.AppendUint16(b, uint16(s.DC))
	b = append(b, s.Secret[:]...)
	b = binary.BigEndian.AppendUint32(b, s.TransportError)
	for _, n := range [...]int64{int64(s.Age), int64(s.Last), int64(s.Unanswered), s.Up.Bytes, s.Down.Bytes} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	for _, text := range [...]string{s.User, s.Upstream, s.Address} {
		if len(text) > maxText {
			return start, fmt.Errorf("upgrade: a text of %d bytes", len(text))
		}
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(text))), text...)
	}
	if flags&hasClient != 0 {
		address, err := s.Client.MarshalBinary()
		if err != nil || len(address) > maxText {
			return start, fmt.Errorf("upgrade: the client's address: %w", err)
		}
		b = append(append(b, byte(len(address))), address...)
	}
	b = appendCursors(b, &s.Receive, &s.Send)
	if flags&hasDownload != 0 {
		b = appendCursors(b, s.DownReceive, s.DownSend)
	}
	if flags&hasRecords != 0 {
		var err error
		if b, err = s.Records.AppendBinary(b); err != nil {
			return start, err
		}
		if b, err = appendLengths(b, s.RecordLengths); err != nil {
			return start, err
		}
	}
	if first := s.FirstPackets; first != nil {
		if len(first.Rest) > proxy.MaxFirstRest || first.Payloads < 0 || first.Payloads > 255 {
			return start, errors.New("upgrade: too much of the first packets")
		}
		b = append(b, first.Download[:]...)
		b = binary.BigEndian.AppendUint64(b, first.Offset)
		b = append(append(b, byte(first.Payloads), byte(len(first.Rest))), first.Rest...)
	}
	return b, nil
}

func appendCursors(b []byte, cursors ...*obfuscation.Cursor) []byte {
	for _, c := range cursors {
		b, _ = c.AppendBinary(b) // which never fails
	}
	return b
}

func appendLengths(b []byte, l *proxy.RecordLengths) ([]byte, error) {
	b = binary.BigEndian.AppendUint16(b, uint16(l.Max))
	b = binary.BigEndian.AppendUint16(b, uint16(l.Sent))
	for _, lengths := range [...][]int{l.Tickets, l.Ramp} {
		if len(lengths) > maxLengths {
			return b, fmt.Errorf("upgrade: %d lengths of records", len(lengths))
		}
		b = append(b, byte(len(lengths)))
		for _, n := range lengths {
			b = binary.BigEndian.AppendUint16(b, uint16(n))
		}
	}
	return b, nil
}

// ParseSession returns the state that AppendSession has appended, which is all of b. The
// result does not refer to b. Errors are ErrSession.
func ParseSession(b []byte) (*proxy.SessionState, error) {
	return new(decoded).parse(b, nil)
}

// decoded is the memory of a state, and of what that refers to.
type decoded struct {
	state                 proxy.SessionState
	downReceive, downSend obfuscation.Cursor
	records               faketls.Deframer
	lengths               proxy.RecordLengths
	first                 proxy.FirstPackets
	tickets, ramp         []int
	firstRest             []byte
}

// texts has texts that many sessions have in common, so that each has memory once. Nil has
// none.
type texts map[string]string

// maxTexts limits the texts that are kept.
const maxTexts = 1024

// of returns b as a string.
func (t *texts) of(b []byte) string {
	if t == nil {
		return string(b)
	}
	text, ok := (*t)[string(b)]
	if !ok {
		text = string(b)
		if *t == nil {
			*t = make(texts)
		}
		if len(*t) < maxTexts {
			(*t)[text] = text
		}
	}
	return text
}

// parse is ParseSession, whose result has the memory of d. Its texts are of shared.
func (d *decoded) parse(b []byte, shared *texts) (*proxy.SessionState, error) {
	if len(b) > MaxSession {
		return nil, ErrSession
	}
	r := reader{b: b, texts: shared}
	*d = decoded{tickets: d.tickets[:0], ramp: d.ramp[:0], firstRest: d.firstRest[:0]}
	flags := r.byte()
	d.state = proxy.SessionState{
		Mode: mtproxy.Modes(r.byte()), Protocol: frame.Protocol(r.byte()), Stage: proxy.Stage(r.byte()),
		DC: datacenter.DC(r.uint16()), Secret: proxy.SecretID(r.fixed(16)), TransportError: r.uint32(),
		Age: time.Duration(r.count()), Last: time.Duration(r.count()), Unanswered: time.Duration(r.count()),
		Up:   proxy.DirectionState{Bytes: r.count(), Ended: flags&upEnded != 0},
		Down: proxy.DirectionState{Bytes: r.count(), Ended: flags&downEnded != 0},
		User: r.text(), Upstream: r.text(), Address: r.text(),
	}
	s := &d.state
	if flags&hasClient != 0 {
		s.Client = r.address()
	}
	r.cursors(&s.Receive, &s.Send)
	if flags&hasDownload != 0 {
		s.DownReceive, s.DownSend = &d.downReceive, &d.downSend
		r.cursors(s.DownReceive, s.DownSend)
	}
	if flags&hasRecords != 0 {
		if d.records.UnmarshalBinary(r.fixed(faketls.DeframerLength)) != nil {
			r.bad = true
		}
		d.lengths = proxy.RecordLengths{Max: int(r.uint16()), Sent: int(r.uint16())}
		d.lengths.Tickets = r.lengths(&d.tickets)
		d.lengths.Ramp = r.lengths(&d.ramp)
		s.Records, s.RecordLengths = &d.records, &d.lengths
	}
	if flags&hasFirstPackets != 0 {
		d.first = proxy.FirstPackets{Download: obfuscation.KeyStream(r.fixed(len(obfuscation.KeyStream{}))), Offset: r.uint64(), Payloads: int(r.byte())}
		if n := int(r.byte()); n > proxy.MaxFirstRest {
			r.bad = true
		} else if n > 0 {
			d.firstRest = append(d.firstRest, r.fixed(n)...)
			d.first.Rest = d.firstRest
		}
		s.FirstPackets = &d.first
	}
	if r.bad || len(r.b) > 0 || flags > allFlags {
		return nil, ErrSession
	}
	return s, nil
}

// reader reads fields from the front of b. After a field that is cut short, bad is true
// and all fields are zero.
type reader struct {
	b     []byte
	bad   bool
	texts *texts // of text
}

// fixed returns the next n bytes.
func (r *reader) fixed(n int) []byte {
	if r.bad || len(r.b) < n {
		r.bad = true
		return make([]byte, n)
	}
	field := r.b[:n]
	r.b = r.b[n:]
	return field
}

func (r *reader) byte() byte     { return r.fixed(1)[0] }
func (r *reader) uint16() uint16 { return binary.BigEndian.Uint16(r.fixed(2)) }
func (r *reader) uint32() uint32 { return binary.BigEndian.Uint32(r.fixed(4)) }
func (r *reader) uint64() uint64 { return binary.BigEndian.Uint64(r.fixed(8)) }

// count returns a number that is not negative.
func (r *reader) count() int64 {
	n := int64(r.uint64())
	r.bad = r.bad || n < 0
	return n
}

func (r *reader) text() string {
	n := int(r.uint16())
	if n > maxText {
		r.bad = true
		return ""
	}
	return r.texts.of(r.fixed(n))
}

func (r *reader) address() (a netip.AddrPort) {
	if b := r.fixed(int(r.byte())); a.UnmarshalBinary(b) != nil || !a.IsValid() {
		r.bad = true
	}
	return a
}

func (r *reader) cursors(cursors ...*obfuscation.Cursor) {
	for _, c := range cursors {
		if c.UnmarshalBinary(r.fixed(obfuscation.CursorLength)) != nil {
			r.bad = true
		}
	}
}

// lengths returns lengths of records in memory, nil for none.
func (r *reader) lengths(memory *[]int) (lengths []int) {
	for range r.byte() {
		*memory = append(*memory, int(r.uint16()))
		lengths = *memory
	}
	return lengths
}
