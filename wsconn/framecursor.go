//go:build !js

package wsconn

// frameCursor tracks the boundaries of WebSocket frames in the bytes read so far.
// If a read deadline passes or the stream ends between two frames, no data is
// lost.
//
//	byte 0      fin, opcode
//	byte 1      mask flag 80, length 0..125, or 126 / 127
//	            2 or 8 more bytes of length, big-endian, after 126 / 127
//	            4 bytes of mask, if the flag is set
//	            payload
//
// Specification: https://www.rfc-editor.org/rfc/rfc6455#section-5.2
type frameCursor struct {
	have, lengthEnd, headerEnd uint8 // within the header; have is 0 between frames
	length                     uint64
	payload                    uint64 // bytes of the payload not read yet
}

func (c *frameCursor) advance(b []byte) {
	for len(b) > 0 {
		if c.payload > 0 {
			n := min(c.payload, uint64(len(b)))
			c.payload -= n
			b = b[n:]
			continue
		}
		c.header(b[0])
		b = b[1:]
	}
}

func (c *frameCursor) header(x byte) {
	switch {
	case c.have == 1:
		c.lengthEnd = 2
		switch c.length = uint64(x & 0x7f); c.length {
		case 126:
			c.length, c.lengthEnd = 0, 2+2
		case 127:
			c.length, c.lengthEnd = 0, 2+8
		}
		c.headerEnd = c.lengthEnd + x>>7*4
	case c.have > 1 && c.have < c.lengthEnd:
		c.length = c.length<<8 | uint64(x)
	}
	c.have++
	if c.have > 1 && c.have == c.headerEnd {
		*c = frameCursor{payload: c.length}
	}
}

// atBoundary reports whether the bytes so far end with a whole frame.
func (c *frameCursor) atBoundary() bool { return c.have == 0 && c.payload == 0 }

// frameLength returns the length of a frame with n bytes of payload, header
// included.
func frameLength(n int, masked bool) int {
	switch {
	case n > 0xffff:
		n += 2 + 8
	case n > 125:
		n += 2 + 2
	default:
		n += 2
	}
	if masked {
		n += 4
	}
	return n
}
