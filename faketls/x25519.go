package faketls

import (
	"crypto/ecdh"
	"crypto/rand"
	"io"
	"sync"

	"filippo.io/edwards25519"
	"filippo.io/edwards25519/field"
)

// X25519 key shares for ServerHellos. FakeTLS agrees on no key with them: they are
// there for observers, and no private half is needed. An observer can tell a string
// of random bytes from a public key, because half of all strings are the coordinate
// of no point of the curve, and most others are outside the subgroup in which all
// public keys are.
//
// A share is a sum of one multiple, ±1 to ±32 times, of each of 22 random points of
// that subgroup. So it is a point of the subgroup too, one of 2^131. An observer who
// cannot compute discrete logarithms could tell shares from public keys by a linear
// combination of them that vanishes, and by nothing else. Whatever the coefficients
// and the other shares are, at most one of the 2^131 values of the last share makes
// the combination vanish. So one trial succeeds with a probability of 2^-131, and
// pairs of some 2^66 combinations have to be compared to expect a success. The points and
// the digits are from crypto/rand, are used for nothing else and never leave the
// process.
//
// No key is ever derived from a share. They must not be used where one is.
//
// Specification: https://www.rfc-editor.org/rfc/rfc7748#section-4.1
const (
	sharePoints    = 22
	shareMultiples = 32

	// sharesAtOnce is how many shares are made together: their coordinates take one
	// inversion, which is as expensive as all additions for one share.
	sharesAtOnce = 16

	// sharesPerPoints is how many shares are made with the same points.
	sharesPerPoints = 1 << 20
)

// shareMaker makes X25519 key shares. Its zero value is ready for use, also
// concurrently.
type shareMaker struct {
	mu     sync.Mutex
	shares [sharesAtOnce][x25519Share]byte
	ready  int // how many of shares are unused, the first ones

	// points has the multiples of each random point. It is made for the first share,
	// since not every process needs it, and it takes 110 KiB.
	points *[sharePoints][shareMultiples]edwards25519.Point
	left   int // how many shares points is still for
}

var shares shareMaker

// appendX25519 appends a new X25519 public key. If random is not nil, it determines the
// private key. Otherwise nothing knows the private key.
func appendX25519(dst []byte, random io.Reader) ([]byte, error) {
	if random == nil {
		return shares.append(dst), nil
	}
	var private [x25519Share]byte
	if _, err := io.ReadFull(random, private[:]); err != nil {
		return nil, err
	}
	key, err := ecdh.X25519().NewPrivateKey(private[:])
	if err != nil {
		return nil, err
	}
	return append(dst, key.PublicKey().Bytes()...), nil
}

// append appends a share.
func (m *shareMaker) append(dst []byte) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ready == 0 {
		if m.left < sharesAtOnce {
			m.points, m.left = newSharePoints(), sharesPerPoints
		}
		m.fill()
		m.ready = sharesAtOnce
		m.left -= sharesAtOnce
	}
	m.ready--
	return append(dst, m.shares[m.ready][:]...)
}

// newSharePoints draws the random points.
func newSharePoints() *[sharePoints][shareMultiples]edwards25519.Point {
	var points [sharePoints][shareMultiples]edwards25519.Point
	for i := range points {
		var uniform [64]byte
		rand.Read(uniform[:])
		scalar, err := edwards25519.NewScalar().SetUniformBytes(uniform[:])
		if err != nil {
			panic("internal error: " + err.Error()) // the length is fixed
		}
		multiples := &points[i]
		multiples[0].ScalarBaseMult(scalar)
		for k := range shareMultiples - 1 {
			multiples[k+1].Add(&multiples[k], &multiples[0])
		}
	}
	return &points
}

// fill makes all shares. Under mu.
func (m *shareMaker) fill() {
	var (
		digits                [sharesAtOnce][sharePoints]byte
		numerators            [sharesAtOnce]field.Element
		denominators, befores [sharesAtOnce]field.Element // befores are the products of the denominators before each
		product, inverse, u   field.Element
		sum                   edwards25519.Point
	)
	// On the Montgomery curve, u = (1 + y) / (1 - y) = (Z + Y) / (Z - Y).
	product.One()
	for i := range digits {
		rand.Read(digits[i][:])
		m.sum(&sum, &digits[i])
		_, y, z, _ := sum.ExtendedCoordinates()
		numerators[i].Add(z, y)
		denominators[i].Subtract(z, y)
		befores[i].Set(&product)
		product.Multiply(&product, &denominators[i])
	}
	inverse.Invert(&product)
	for i := sharesAtOnce - 1; i >= 0; i-- {
		u.Multiply(&inverse, &befores[i])
		inverse.Multiply(&inverse, &denominators[i])
		u.Multiply(&u, &numerators[i])
		m.shares[i] = [x25519Share]byte(u.Bytes())
	}
}

// sum sets sum to that of the multiples that the digits choose, five bits for the
// multiple and one for its sign.
func (m *shareMaker) sum(sum *edwards25519.Point, digits *[sharePoints]byte) {
	sum.Set(&m.points[0][digits[0]%shareMultiples]) // the sign of a sum is not in its coordinate
	for i, digit := range digits[1:] {
		multiple := &m.points[1+i][digit%shareMultiples]
		if digit&shareMultiples != 0 {
			sum.Subtract(sum, multiple)
		} else {
			sum.Add(sum, multiple)
		}
	}
}
