// Package bufpool lends byte buffers in few sizes. An idle connection should
// own none: it borrows one when there are bytes and gives it back when they
// are gone.
package bufpool

import (
	"math/bits"
	"sync"
)

const (
	// Min and Max are the smallest and largest sizes that are kept. A larger
	// buffer is made to measure and left to the garbage collector: a pool of
	// buffers for packets of many megabytes would hold them for the few who
	// need them.
	Min = 1 << 10
	Max = 1 << 20

	classes = 11 // Min, and each twice the one before
)

// Buffer is a borrowed buffer. B may be resliced as needed.
type Buffer struct {
	B     []byte // at full length when borrowed
	class int8   // -1: too large to be kept
}

var pools [classes]sync.Pool

// Get lends a buffer of at least n bytes, and less than twice that, or Min.
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

// classOf returns the smallest class that holds n bytes.
func classOf(n int) int {
	if n <= Min {
		return 0
	}
	return bits.Len(uint(n-1) >> 10)
}

// Put takes a buffer back. Nil is nothing.
func Put(b *Buffer) {
	if b != nil && b.class >= 0 {
		pools[b.class].Put(b)
	}
}
