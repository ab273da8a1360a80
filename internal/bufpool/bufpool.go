// Package bufpool is a pool of byte buffers in a few sizes. A connection borrows a
// buffer when there are bytes and returns it when they are consumed, so that an idle
// connection has none.
package bufpool

import (
	"math/bits"
	"sync"
)

const (
	// Min and Max are the smallest and largest sizes in the pool. A larger buffer
	// has exactly the size requested and is left to the garbage collector:
	// packets of many megabytes are rare, and the pool would keep their buffers.
	Min = 1 << 10
	Max = 1 << 20

	classes = 11 // sizes, each twice the one before
)

// Buffer is a borrowed buffer. The borrower may reslice B.
type Buffer struct {
	B     []byte // at its full length from Get
	class int8   // -1: too large for the pool
}

var pools [classes]sync.Pool

// Get returns a buffer of at least n bytes. It has less than 2*n bytes, or Min. The
// caller passes it to Put when it is no longer needed.
func Get(n int) *Buffer {
	if n > Max {
		return &Buffer{B: make([]byte, n), class: -1}
	}
	class := classOf(n)
	if b, ok := pools[class].Get().(*Buffer); ok {
		b.B = b.B[:cap(b.B)]
		return b
	}
	return &Buffer{B: make([]byte, Min<<class), class: int8(class)}
}

// Size returns the length of the buffer that Get returns for n bytes.
func Size(n int) int {
	if n > Max {
		return n
	}
	return Min << classOf(n)
}

// classOf returns the smallest class with room for n bytes.
func classOf(n int) int {
	if n <= Min {
		return 0
	}
	return bits.Len(uint(n-1) >> 10)
}

// Put returns a buffer to the pool. The caller must not use it, or B, afterwards. It
// does nothing for nil.
func Put(b *Buffer) {
	if b != nil && b.class >= 0 {
		pools[b.class].Put(b)
	}
}
