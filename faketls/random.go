package faketls

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"io"
	"sync"
)

// filler makes bytes that only have to look random to observers, such as those that
// stand for encrypted certificates: the key stream of AES-CTR under a key from
// crypto/rand, in a tenth of the time that crypto/rand takes. No key or other secret
// may be made of them.
type filler struct{ stream cipher.Stream }

var fillers = sync.Pool{New: func() any {
	var key, counter [16]byte
	rand.Read(key[:])
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic("internal error: " + err.Error()) // the key's length is fixed
	}
	return &filler{cipher.NewCTR(block, counter[:])}
}}

// fillRandom fills b with random bytes from random or, if it is nil, from a filler.
func fillRandom(b []byte, random io.Reader) error {
	if random != nil {
		_, err := io.ReadFull(random, b)
		return err
	}
	f := fillers.Get().(*filler)
	clear(b)
	f.stream.XORKeyStream(b, b)
	fillers.Put(f)
	return nil
}

// appendRandom appends n random bytes: see fillRandom.
func appendRandom(dst []byte, n int, random io.Reader) ([]byte, error) {
	end := len(dst)
	dst = append(dst, make([]byte, n)...)
	return dst, fillRandom(dst[end:], random)
}
