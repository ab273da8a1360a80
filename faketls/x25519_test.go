package faketls

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"math/big"
	"testing"

	"filippo.io/edwards25519"
)

// A key share is the coordinate of a point of the curve y² = x³ + 486662x² + x, in the
// subgroup of prime order, as public keys are: 8 times it, divided by 8, is the share
// again. Half of all random strings would be no point, and most others in no subgroup.
//
// Specification: https://www.rfc-editor.org/rfc/rfc7748#section-4.1
func TestKeyShareIsAnX25519PublicKey(t *testing.T) {
	prime := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	var maker shareMaker
	seen := make(map[string]bool)
	for range 5 * sharesAtOnce {
		share := maker.append([]byte("before"))[6:]
		if len(share) != x25519Share || seen[string(share)] {
			t.Fatalf("%x has a wrong length, or comes again", share)
		}
		seen[string(share)] = true
		u := littleEndian(share)
		if u.Cmp(prime) >= 0 {
			t.Errorf("%x is not reduced", share)
		}
		square := new(big.Int).Add(u, big.NewInt(486662)) // u(u(u + 486662) + 1)
		square.Mul(square, u).Add(square, big.NewInt(1)).Mul(square, u).Mod(square, prime)
		if big.Jacobi(square, prime) != 1 {
			t.Errorf("%x is on no point of the curve", share)
		}
		if !inPrimeSubgroup(t, u, prime) {
			t.Errorf("%x is outside the subgroup of prime order", share)
		}
	}
}

// inPrimeSubgroup reports whether the points with that coordinate are in the subgroup of
// prime order: l - 1 times a point of it is the point's negative.
func inPrimeSubgroup(t *testing.T, u, prime *big.Int) bool {
	t.Helper()
	one := big.NewInt(1) // y = (u - 1) / (u + 1)
	y := new(big.Int).Sub(u, one)
	y.Mul(y, new(big.Int).ModInverse(new(big.Int).Add(u, one), prime)).Mod(y, prime)
	encoded := y.FillBytes(make([]byte, 32))
	for i, k := 0, 31; i < k; i, k = i+1, k-1 {
		encoded[i], encoded[k] = encoded[k], encoded[i]
	}
	point, err := new(edwards25519.Point).SetBytes(encoded)
	if err != nil {
		t.Fatal(err)
	}
	minusOne := edwards25519.NewScalar()
	scalar, err := edwards25519.NewScalar().SetCanonicalBytes(append([]byte{1}, make([]byte, 31)...))
	if err != nil {
		t.Fatal(err)
	}
	minusOne.Negate(scalar)
	product := new(edwards25519.Point).ScalarMult(minusOne, point)
	return product.Add(product, point).Equal(edwards25519.NewIdentityPoint()) == 1
}

func littleEndian(b []byte) *big.Int {
	reversed := bytes.Clone(b)
	for i, k := 0, len(b)-1; i < k; i, k = i+1, k-1 {
		reversed[i], reversed[k] = reversed[k], reversed[i]
	}
	return new(big.Int).SetBytes(reversed)
}

// Shares that are made together are no small multiples, sums or differences of one
// another, which an observer could see.
func TestKeySharesAreUnrelated(t *testing.T) {
	var maker shareMaker
	maker.append(nil)
	var points [sharesAtOnce]edwards25519.Point
	related := make(map[string]string)
	note := func(p *edwards25519.Point, what string) {
		u := string(p.BytesMontgomery()) // the same for a point and its negative
		if other, again := related[u]; again {
			t.Errorf("%s is the same as %s", what, other)
		}
		related[u] = what
	}
	for i := range points {
		var digits [sharePoints]byte
		rand.Read(digits[:])
		maker.sum(&points[i], &digits)
		note(&points[i], "a share")
		note(new(edwards25519.Point).Add(&points[i], &points[i]), "twice a share")
		for k := range i {
			note(new(edwards25519.Point).Add(&points[i], &points[k]), "a sum")
			note(new(edwards25519.Point).Subtract(&points[i], &points[k]), "a difference")
		}
	}
}

// New points are drawn when those before have served for long enough.
func TestKeySharesGetNewPoints(t *testing.T) {
	var maker shareMaker
	maker.append(nil)
	first := maker.points
	maker.ready, maker.left = 0, sharesAtOnce
	maker.append(nil)
	if maker.points != first || maker.left != 0 {
		t.Errorf("new points too early, %d shares are left", maker.left)
	}
	maker.ready = 0
	maker.append(nil)
	if maker.points == first || maker.left != sharesPerPoints-sharesAtOnce {
		t.Errorf("the points stay in use, %d shares are left", maker.left)
	}
}

// A source of random bytes that the caller chooses determines the private key.
func TestKeyShareOfAGivenPrivateKey(t *testing.T) {
	private := bytes.Repeat([]byte{0x42}, 32)
	got, err := appendX25519(nil, bytes.NewReader(private))
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdh.X25519().NewPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, key.PublicKey().Bytes()) {
		t.Errorf("%x, want %x", got, key.PublicKey().Bytes())
	}
}

func BenchmarkKeyShare(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		shares.append(nil)
	}
}

func BenchmarkNewSharePoints(b *testing.B) {
	for b.Loop() {
		newSharePoints()
	}
}
