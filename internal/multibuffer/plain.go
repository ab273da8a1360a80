package multibuffer

import (
	"crypto/aes"
	"crypto/sha256"
	"crypto/subtle"
)

// HMAC returns the HMAC-SHA256 of the parts, one behind the other, under one
// key. Unlike crypto/hmac it allocates nothing.
func HMAC(key *[16]byte, parts ...[]byte) (sum [sha256.Size]byte) {
	h := sha256.New()
	pad := hmacPad(key, innerPad)
	h.Write(pad[:])
	for _, part := range parts {
		h.Write(part)
	}
	h.Sum(sum[:0])

	h.Reset()
	pad = hmacPad(key, outerPad)
	h.Write(pad[:])
	h.Write(sum[:])
	h.Sum(sum[:0])
	return sum
}

// What HMAC XORs the key with.
const (
	innerPad = 0x36
	outerPad = 0x5c
)

func hmacPad(key *[16]byte, fill byte) (pad [sha256.BlockSize]byte) {
	for i := range pad {
		pad[i] = fill
	}
	subtle.XORBytes(pad[:], pad[:], key[:])
	return pad
}

func plainHMAC(g *Group, m *Message, sums *Sums) {
	for k := range g.n {
		key := g.key(k)
		sum := HMAC(&key, m.bytes())
		sums.set(k, &sum)
	}
}

func plainDigest(g *Group, prefix *[32]byte, sums *Sums) {
	var b [len(prefix) + 16]byte
	copy(b[:], prefix[:])
	for k := range g.n {
		key := g.key(k)
		copy(b[len(prefix):], key[:])
		sum := sha256.Sum256(b[:])
		sums.set(k, &sum)
	}
}

// plainAES allocates for each key, which crypto/aes leaves no way around.
func plainAES(out [][16]byte, keys [][32]byte, block *[16]byte) {
	// The compiler cannot see what is behind a cipher and keeps what goes
	// there on the heap. That should not befall the caller's arrays.
	in, encrypted := *block, [16]byte{}
	for i := range keys {
		cipher, err := aes.NewCipher(keys[i][:])
		if err != nil {
			panic("internal error: " + err.Error()) // the key's length is fixed
		}
		cipher.Encrypt(encrypted[:], in[:])
		out[i] = encrypted
	}
}
