package wsstream

import (
	"errors"

	"github.com/mtwire/mtwire/internal/bufpool"
)

// ErrTooLong means that the peer has sent a message that is longer than the limit.
var ErrTooLong = errors.New("a WebSocket message is too long")

// messages puts the messages of a client's stream together. Between two calls it may be at
// any byte. It has a buffer for a message of which a part has come, as long as what has come
// at first, and at most twice as long later.
type messages struct {
	frameReader
	max     int // of a message's length
	mask    [keyLength]byte
	buffer  *bufpool.Buffer // nil without such a message
	length  int             // of what has come of the message, and is in buffer
	discard bool            // messages are not kept
}

// feed takes the next bytes of the stream, which it changes. It calls onMessage with each
// message that is whole then, which is valid during the call, and onControl with each control
// frame, whose payload onControl owns. It returns the number of bytes that are of messages.
//
// After an error of onMessage, and ErrText, messages are discarded, and feed may be called
// again: it returns the first such error. Any other error is the last.
func (m *messages) feed(b []byte, onMessage func(message []byte) error, onControl func(opcode byte, payload []byte) error) (data int, err error) {
	var first error
	for {
		if m.have < m.headerLength() {
			if len(b) == 0 {
				return data, first
			}
			used, err := m.beginFrame(b)
			b = b[used:]
			if err == ErrText {
				first, m.discard = err, true
			} else if err != nil {
				return data, err
			}
			continue
		}
		part := b[:min(m.payload, uint64(len(b)))]
		b = b[len(part):]
		m.unmask(part)
		m.payload -= uint64(len(part))
		if m.control != nil {
			err = m.takeControl(part, onControl)
		} else {
			data += len(part)
			if failed := m.takeData(part, onMessage); failed != nil {
				first, m.discard = failed, true
			}
		}
		switch {
		case err != nil:
			return data, err
		case m.payload > 0:
			return data, first
		}
		m.have = 0
	}
}

// beginFrame reads the bytes of a frame's header that are in b.
func (m *messages) beginFrame(b []byte) (used int, err error) {
	used, err = m.readHeader(b)
	if err != nil && err != ErrText || m.have < m.headerLength() {
		return used, err
	}
	m.mask = m.key()
	if m.control == nil && !m.discard && m.payload > uint64(m.max-m.length) {
		return used, ErrTooLong
	}
	return used, err
}

// unmask removes the mask from the next part of a frame's payload.
func (m *messages) unmask(part []byte) {
	mask(part, m.mask)
	if n := len(part) % keyLength; n > 0 {
		k := m.mask
		for i := range m.mask {
			m.mask[i] = k[(i+n)%keyLength]
		}
	}
}

// takeControl takes the next part of a control frame.
func (m *messages) takeControl(part []byte, onControl func(opcode byte, payload []byte) error) error {
	m.control = append(m.control, part...)
	if m.payload > 0 {
		return nil
	}
	payload := m.control
	m.control = nil
	return onControl(m.opcode, payload)
}

// takeData takes the next part of a message. What comes in one piece is not copied.
func (m *messages) takeData(part []byte, onMessage func(message []byte) error) error {
	whole := m.payload == 0 && !m.inMessage
	switch {
	case m.discard:
		m.release()
		return nil
	case whole && m.length == 0:
		return onMessage(part)
	case len(part) > 0:
		m.grow(len(part), len(part))
		if next := m.buffer.B[m.length:]; &next[0] != &part[0] { // see space
			copy(next, part)
		}
		m.length += len(part)
	}
	if !whole {
		return nil
	}
	defer m.release()
	return onMessage(m.buffer.B[:m.length])
}

// grow makes the buffer long enough for least more bytes. If it is not, it makes it twice as
// long, but no longer than for most more bytes.
func (m *messages) grow(least, most int) {
	have := 0
	if m.buffer != nil {
		have = len(m.buffer.B)
	}
	if m.length+least <= have {
		return
	}
	longer := bufpool.Get(max(m.length+least, min(2*have, m.length+most)))
	if m.buffer != nil {
		copy(longer.B, m.buffer.B[:m.length])
		bufpool.Put(m.buffer)
	}
	m.buffer = longer
}

// release gives the buffer back.
func (m *messages) release() {
	bufpool.Put(m.buffer)
	m.buffer, m.length = nil, 0
}

// space returns where the next bytes of a long message may be read to, before they are passed
// to feed, or nil.
func (m *messages) space() []byte {
	const short = 4 << 10
	if m.buffer == nil || m.have < m.headerLength() || m.control != nil || m.payload < short {
		return nil
	}
	m.grow(short, int(m.payload))
	free := m.buffer.B[m.length:]
	return free[:min(uint64(len(free)), m.payload)]
}

// partial reports whether a part of a message has come, and its end has not.
func (m *messages) partial() bool {
	return m.inMessage || m.control == nil && m.have > 0 && m.have == m.headerLength()
}
