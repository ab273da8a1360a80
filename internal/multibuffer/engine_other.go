//go:build !amd64

package multibuffer

// engine selects the instructions that compute. Here the only one is the standard
// library, which uses the processor's SHA-256 instructions if it has them.
type engine uint8

const (
	generic engine = iota
	best           = generic
)

func (engine) hmac(b *Batch, m *Message, digests *Digests) {
	digests.n = b.n
	genericHMAC(b, m, digests)
}

func (engine) sha256(b *Batch, prefix *[32]byte, digests *Digests) {
	digests.n = b.n
	genericSHA256(b, prefix, digests)
}

func (engine) encryptAES(out [][16]byte, keys [][32]byte, block *[16]byte) {
	genericAES(out, keys, block)
}
