//go:build !amd64

package multibuffer

// engine is a way to compute. Here there is one: the standard library, which
// uses the processor's own instructions for SHA-256 where it has them.
type engine uint8

const (
	plain engine = iota
	best         = plain
)

func (engine) hmac(g *Group, m *Message, sums *Sums) {
	sums.n = g.n
	plainHMAC(g, m, sums)
}

func (engine) digest(g *Group, prefix *[32]byte, sums *Sums) {
	sums.n = g.n
	plainDigest(g, prefix, sums)
}

func (engine) encryptAES(out [][16]byte, keys [][32]byte, block *[16]byte) {
	plainAES(out, keys, block)
}
