package multibuffer

import (
	"crypto/aes"
	"crypto/sha256"
	"crypto/subtle"
)

// HMAC returns the HMAC-SHA256 of the concatenated parts under one key. Unlike
// crypto/hmac it does not allocate.
func HMAC(key *[16]byte, parts ...[]byte) (digest [sha256.Size]byte) {
	h := sha256.New()
	pad := hmacPad(key, innerPad)
	h.Write(pad[:])
	for _, part := range parts {
		h.Write(part)
	}
	h.Sum(digest[:0])

	h.Reset()
	pad = hmacPad(key, outerPad)
	h.Write(pad[:])
	h.Write(digest[:])
	h.Sum(digest[:0])
	return digest
}

// Bytes that HMAC XORs with the key: ipad and opad of RFC 2104, section 2.
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

func genericHMAC(b *Batch, m *Message, digests *Digests) {
	for k := range b.n {
		key := b.key(k)
		digest := HMAC(&key, m.bytes())
		digests.set(k, &digest)
	}
}

func genericSHA256(b *Batch, prefix *[32]byte, digests *Digests) {
	var input [len(prefix) + 16]byte
	copy(input[:], prefix[:])
	for k := range b.n {
		key := b.key(k)
		copy(input[len(prefix):], key[:])
		digest := sha256.Sum256(input[:])
		digests.set(k, &digest)
	}
}

// genericAES allocates a cipher for each key, which crypto/aes does not avoid.
func genericAES(out [][16]byte, keys [][32]byte, block *[16]byte) {
	// Arguments of an interface's method escape to the heap. The copies escape
	// in place of the caller's arrays.
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
