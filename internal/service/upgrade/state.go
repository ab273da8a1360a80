package upgrade

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net"
	"time"
)

// stateVersion is the first version of the protocol that has state besides sessions.
const stateVersion = 2

// maxName is the maximum length of the name of a part of the state.
const maxName = 64

// appendState appends a message of elements of one part of the state. It takes as many of
// the elements as have room, and returns the rest. One that has no room in any message is
// dropped.
func appendState(b []byte, part string, elements [][]byte) (message []byte, rest [][]byte) {
	b = append(b, byte(stateMessage), byte(len(part)))
	b = append(append(b, part...), '[')
	empty := len(b)
	for i, e := range elements {
		if len(b)+len(e)+2 > maxMessage {
			if len(b) == empty {
				continue
			}
			return append(b, ']'), elements[i:]
		}
		if len(b) > empty {
			b = append(b, ',')
		}
		b = append(b, e...)
	}
	return append(b, ']'), nil
}

// parseState is the opposite of appendState. The elements are JSON of any kind.
func parseState(b []byte) (part string, elements []json.RawMessage, err error) {
	r := reader{b: b}
	if kind(r.byte()) != stateMessage {
		return "", nil, ErrMessage
	}
	n := int(r.byte())
	if part = string(r.fixed(min(n, maxName))); r.bad || n == 0 || n > maxName {
		return "", nil, ErrMessage
	}
	if err := json.Unmarshal(r.b, &elements); err != nil || elements == nil {
		return "", nil, ErrMessage
	}
	return part, elements, nil
}

// sendState sends elements of parts, which are in order: those of one part are together.
func sendState(conn *net.UnixConn, state iter.Seq2[string, any]) error {
	var part string
	var elements [][]byte
	size := 0
	flush := func(all bool) error {
		for len(elements) > 0 && (all || size > maxMessage) {
			var message []byte
			if message, elements = appendState(nil, part, elements); len(elements) == 0 {
				size = 0
			} else {
				size -= len(message)
			}
			if err := send(conn, message, nil); err != nil {
				return err
			}
		}
		return nil
	}
	for name, value := range state {
		element, err := json.Marshal(value)
		switch {
		case err != nil:
			return fmt.Errorf("upgrade: %s: %w", name, err)
		case len(name) == 0 || len(name) > maxName:
			return fmt.Errorf("upgrade: a part called %q", name)
		}
		if name != part {
			if err := flush(true); err != nil {
				return err
			}
			part = name
		}
		elements, size = append(elements, element), size+len(element)+1
		if err := flush(false); err != nil {
			return err
		}
	}
	return flush(true)
}

// HasState reports whether the new process takes state besides sessions.
func (h *Handover) HasState() bool { return h.version >= stateVersion }

// SendState sends what the new process is to begin with, as names of parts and elements for
// json.Marshal: elements of one part follow one another. It does nothing if the new process
// speaks a version of the protocol without state. Before Done, an error ends the upgrade;
// afterwards it means that the new process has ended, or takes nothing.
func (h *Handover) SendState(state iter.Seq2[string, any]) error {
	if !h.HasState() {
		return nil
	}
	h.conn.SetWriteDeadline(time.Now().Add(Timeouts.Step))
	err := sendState(h.conn, state)
	if err != nil && !h.isDone {
		h.Abort()
		err = h.failed(err)
	}
	return err
}

// Follow passes on the names of users whose sessions this process is to end, which the new one
// sends after Done, and returns at Close, or when the new process has ended. It may run beside
// SendState.
func (h *Handover) Follow(stopped func(names []string)) {
	h.conn.SetReadDeadline(time.Time{})
	for {
		message, fds, err := receive(h.conn, h.buf[:], 1)
		closeFDs(fds)
		if err != nil {
			return
		}
		if names, err := parseNames(message, stoppedMessage); err == nil { // what this program does not know is left out
			stopped(names)
		}
	}
}

// Close ends what follows Done. It may be called on nil.
func (h *Handover) Close() {
	if h != nil {
		h.conn.Close()
	}
}

// HasState reports whether the old process sends state besides sessions.
func (t *Takeover) HasState() bool { return t != nil && t.version >= stateVersion }

// takeState passes the elements of a message on, one after the other. A part, or an
// element, that this program does not know is none of its state.
func takeState(message []byte, state func(part string, element []byte)) error {
	part, elements, err := parseState(message)
	for _, e := range elements {
		state(part, e)
	}
	return err
}

// SendStopped tells the old process to end the sessions of users by name, after Run has returned
// without an error. It may be called beside Follow. An old process that does not know of it
// drains them.
func (t *Takeover) SendStopped(names []string) error {
	if !t.HasState() {
		return nil
	}
	t.conn.SetWriteDeadline(time.Now().Add(Timeouts.Step))
	return send(t.conn, appendNames(nil, stoppedMessage, names), nil)
}

// Follow passes on what the old process sends after Run has returned without an error, and
// returns when it has ended.
func (t *Takeover) Follow(state func(part string, element []byte)) error {
	defer t.conn.Close()
	for t.HasState() {
		message, fds, err := receive(t.conn, t.buf[:], 1)
		closeFDs(fds)
		if err == nil {
			err = takeState(message, state)
		}
		if isEnd(err) {
			return nil
		}
		if err != nil && !errors.Is(err, ErrMessage) {
			return err
		}
	}
	return nil
}
