//go:build linux || darwin || freebsd

package aesctr

import (
	"bytes"
	"os"
	"syscall"
	"testing"
)

// guarded returns n bytes between two pages that cannot be read: the bytes end at the
// second, or begin behind the first.
func guarded(t *testing.T, n int, atEnd bool) []byte {
	t.Helper()
	page := os.Getpagesize()
	size := (n + page - 1) / page * page
	b, err := syscall.Mmap(-1, 0, size+2*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Munmap(b) })
	for _, guard := range [][]byte{b[:page], b[page+size:]} {
		if err := syscall.Mprotect(guard, syscall.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	if atEnd {
		return b[page+size-n : page+size]
	}
	return b[page : page+n]
}

// No byte before or behind src and dst is read or written: an access would end the
// process.
func TestNoAccessOutside(t *testing.T) {
	key, iv := randomKey(11)
	const longest = 1100
	stream := reference(&key, &iv, 17+longest)
	each(t, func(t *testing.T) {
		for _, atEnd := range []bool{false, true} {
			src, dst := guarded(t, longest, atEnd), guarded(t, longest, atEnd)
			for n := 1; n <= longest; n++ {
				from := 0
				if atEnd {
					from = longest - n
				}
				a, b := New(&key, &iv, uint64(n%18)), New(&key, &iv, uint64(n%18))
				a.XORKeyStream(dst[from:from+n], src[from:from+n])
				if !bytes.Equal(dst[from:from+n], stream[n%18:][:n]) {
					t.Fatalf("%d bytes: other bytes", n)
				}
				a.Rest()
				a = New(&key, &iv, uint64(n%18))
				XORKeyStreams(dst[from:from+n], dst[from:from+n], &a, &b)
				if !bytes.Equal(dst[from:from+n], stream[n%18:][:n]) { // the same stream twice
					t.Fatalf("%d bytes, two streams: other bytes", n)
				}
			}
		}
	})
}
