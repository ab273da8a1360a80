package upgrade

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mtwire/mtwire/proxy"
)

// The versions of the protocol that this program speaks.
const lowestVersion, latestVersion = 1, 2

// HighestVersion is the highest version that is spoken. It is for tests that take a program
// for an older or newer one, and set before any other call.
var HighestVersion uint16 = latestVersion

// magic is the beginning of the first message.
const magic = "mtwire upgrade\n"

const (
	// maxBatch is the maximum number of sessions of one message, each of which has two
	// descriptors. Linux takes 253 descriptors with a message.
	maxBatch = 64
	// usualBatch is how many sessions this program sends with one: a session waits until
	// its whole batch has moved.
	usualBatch = 16
	// maxListeners is the maximum number of listeners of one message.
	maxListeners = 64
	// maxMessage is the maximum length of a message, in bytes.
	maxMessage = 64 << 10
)

// kind is a message's first byte.
type kind byte

const (
	helloMessage     kind = iota + 1 // old: the versions it speaks
	versionMessage                   // new: the one that is spoken
	refuseMessage                    // new: why it does not take over
	listenersMessage                 // old: listeners, with their descriptors
	listenedMessage                  // old: there are no more listeners
	readyMessage                     // new: it can serve
	sessionsMessage                  // old: sessions, with their descriptors
	heldMessage                      // new: which of them it holds
	commitMessage                    // old: which of those are the new process's
	settledMessage                   // old: accepts no more connections
	servingMessage                   // new: accepts them
	doneMessage                      // old: nothing follows but state; new: it knows
	stateMessage                     // old: what there is besides sessions; see state.go
	abortMessage                     // old: the upgrade ends, and it goes on; see bysocket.go
	stoppedMessage                   // new: users whose sessions the old process is to end, after doneMessage
)

// ErrMessage means that a message is none of the protocol, or not the next.
var ErrMessage = errors.New("upgrade: an unexpected message")

// RefusedError is why the new process does not take over.
type RefusedError struct{ Cause string }

func (e *RefusedError) Error() string { return "the new process does not take over: " + e.Cause }

// appendHello appends the first message.
func appendHello(b []byte, lowest, highest uint16) []byte {
	b = append(append(b, byte(helloMessage)), magic...)
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, lowest), highest)
}

// parseHello returns the highest version that both speak.
func parseHello(b []byte) (version uint16, err error) {
	r := reader{b: b}
	if kind(r.byte()) != helloMessage || string(r.fixed(len(magic))) != magic {
		return 0, ErrMessage
	}
	lowest, highest := r.uint16(), r.uint16()
	if r.bad || lowest > highest {
		return 0, ErrMessage
	}
	if lowest > HighestVersion || highest < lowestVersion {
		return 0, fmt.Errorf("upgrade: versions %d to %d of the protocol, and this program speaks %d to %d", lowest, highest, lowestVersion, HighestVersion)
	}
	return min(highest, HighestVersion), nil
}

// appendVersion appends the answer to the first message: the version that is spoken, and the
// version of the new program.
func appendVersion(b []byte, version uint16, program string) []byte {
	b = binary.BigEndian.AppendUint16(append(b, byte(versionMessage)), version)
	return append(b, program[:min(len(program), maxText)]...)
}

// parseVersion returns the version of the protocol, which must be one that this program
// speaks, and that of the new program, "" if it does not tell.
func parseVersion(b []byte) (version uint16, program string, err error) {
	r := reader{b: b}
	isVersion := kind(r.byte()) == versionMessage
	version = r.uint16()
	switch {
	case !isVersion || r.bad || len(r.b) > maxText:
		return 0, "", ErrMessage
	case version < lowestVersion || version > HighestVersion:
		return 0, "", fmt.Errorf("upgrade: the new process speaks version %d of the protocol, and this one %d to %d", version, lowestVersion, HighestVersion)
	}
	return version, string(r.b), nil
}

// Use is what a listener is for.
type Use byte

const (
	// Clients connect to it, at an address of the configuration.
	Clients Use = iota + 1
	// Inherited is one for clients that the first process was started with.
	Inherited
	// Admin is one for operators.
	Admin
	// Web is one for web servers in front of the web site.
	Web
)

// appendListeners appends a message of listeners, each with its use and its address in the
// configuration.
func appendListeners(b []byte, listeners []Listener) ([]byte, error) {
	b = append(b, byte(listenersMessage), byte(len(listeners)))
	for _, l := range listeners {
		if len(l.Address) > maxText {
			return nil, fmt.Errorf("upgrade: an address of %d bytes", len(l.Address))
		}
		b = append(b, byte(l.Use))
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(l.Address))), l.Address...)
	}
	return b, nil
}

func parseListeners(b []byte) (listeners []Listener, err error) {
	r := reader{b: b}
	if kind(r.byte()) != listenersMessage {
		return nil, ErrMessage
	}
	for range min(r.byte(), maxListeners) {
		l := Listener{Use: Use(r.byte()), Address: r.text()}
		r.bad = r.bad || l.Use < Clients || l.Use > Web
		listeners = append(listeners, l)
	}
	if r.bad || len(r.b) > 0 {
		return nil, ErrMessage
	}
	return listeners, nil
}

// appendSessions appends a message of encoded sessions.
func appendSessions(b []byte, batch uint32, sessions [][]byte) []byte {
	b = binary.BigEndian.AppendUint32(append(b, byte(sessionsMessage)), batch)
	b = append(b, byte(len(sessions)))
	for _, s := range sessions {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
	}
	return b
}

// parseSessions returns the sessions of a message, which have the memory of m until the
// next call. One that cannot be parsed is nil.
func parseSessions(b []byte, m *sessionMemory) (batch uint32, sessions []*proxy.SessionState, err error) {
	r := reader{b: b}
	if kind(r.byte()) != sessionsMessage {
		return 0, nil, ErrMessage
	}
	batch = r.uint32()
	for i := range int(min(r.byte(), maxBatch)) {
		if i == len(m.sessions) {
			m.sessions = append(m.sessions, new(decoded))
		}
		s, _ := m.sessions[i].parse(r.fixed(int(r.uint16())), &m.texts)
		sessions = append(sessions, s)
	}
	if r.bad || len(r.b) > 0 {
		return 0, nil, ErrMessage
	}
	return batch, sessions, nil
}

// sessionMemory is the memory for the sessions of a message, which is used again. The zero
// value is empty.
type sessionMemory struct {
	sessions []*decoded
	texts    texts
}

// The answers about a session in a heldMessage.
const (
	notHeld     byte = iota // it goes on in the old process
	isHeld                  // it may go on in the new one
	notAdmitted             // it is to end; from stateVersion on
	tooMany                 // all of them are too many at once; from stateVersion on
)

// appendAnswers appends a heldMessage.
func appendAnswers(b []byte, batch uint32, answers []byte) []byte {
	return append(binary.BigEndian.AppendUint32(append(b, byte(heldMessage)), batch), answers...)
}

// parseAnswers is the opposite of appendAnswers, for the n sessions of a batch.
func parseAnswers(b []byte, batch uint32, n int) (answers []byte, err error) {
	r := reader{b: b}
	if kind(r.byte()) != heldMessage || r.uint32() != batch || r.bad || len(r.b) != n {
		return nil, ErrMessage
	}
	for _, a := range r.b {
		if a > tooMany {
			return nil, ErrMessage
		}
	}
	return r.b, nil
}

// appendCommitment appends a commitMessage: which sessions of a batch are the new process's.
func appendCommitment(b []byte, batch uint32, chosen []bool) []byte {
	b = binary.BigEndian.AppendUint32(append(b, byte(commitMessage)), batch)
	for _, c := range chosen {
		if c {
			b = append(b, 1)
		} else {
			b = append(b, 0)
		}
	}
	return b
}

// parseCommitment is the opposite of appendCommitment, for the n sessions of a batch.
func parseCommitment(b []byte, batch uint32, n int) (chosen []bool, err error) {
	r := reader{b: b}
	if kind(r.byte()) != commitMessage || r.uint32() != batch || r.bad || len(r.b) != n {
		return nil, ErrMessage
	}
	for _, c := range r.b {
		if c > 1 {
			return nil, ErrMessage
		}
		chosen = append(chosen, c == 1)
	}
	return chosen, nil
}

// appendServing appends a servingMessage, with the names of users of the old process that the
// new one does not have, as far as they have room.
func appendServing(b []byte, unknown []string) []byte { return appendNames(b, servingMessage, unknown) }

// appendNames appends a message of names, as far as they have room.
func appendNames(b []byte, k kind, names []string) []byte {
	b = append(b, byte(k))
	for _, name := range names {
		if len(name) > maxText || len(b)+2+len(name) > maxMessage {
			continue
		}
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(name))), name...)
	}
	return b
}

// parseServing is the opposite of appendServing.
func parseServing(b []byte) (unknown []string, err error) { return parseNames(b, servingMessage) }

// parseNames is the opposite of appendNames.
func parseNames(b []byte, k kind) (names []string, err error) {
	r := reader{b: b}
	if kind(r.byte()) != k {
		return nil, ErrMessage
	}
	for len(r.b) > 0 && !r.bad {
		names = append(names, r.text())
	}
	if r.bad {
		return nil, ErrMessage
	}
	return names, nil
}
