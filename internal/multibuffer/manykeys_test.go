package multibuffer

import (
	"bytes"
	"crypto/aes"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"testing"
)

// each runs a test with every way to compute that this processor has.
func each(t *testing.T, run func(t *testing.T, e engine)) {
	for e := plain; e <= best; e++ {
		t.Run(name(e), func(t *testing.T) { run(t, e) })
	}
}

func name(e engine) string { return [...]string{"plain", "AVX2", "AVX-512"}[e] }

// draw returns a group of n random keys, and the keys.
func draw(random *rand.ChaCha8, n int) (*Group, [][16]byte) {
	g, keys := new(Group), make([][16]byte, n)
	for i := range keys {
		random.Read(keys[i][:])
		g.Add(&keys[i])
	}
	return g, keys
}

// stdHMAC is what HMAC and Group.HMAC must return.
func stdHMAC(key [16]byte, message []byte) (sum [32]byte) {
	h := hmac.New(sha256.New, key[:])
	h.Write(message)
	return [32]byte(h.Sum(nil))
}

func checkHMAC(t *testing.T, e engine, g *Group, keys [][16]byte, message []byte) {
	t.Helper()
	var sums Sums
	m := NewMessage(message)
	e.hmac(g, &m, &sums)
	for i, key := range keys {
		if got, want := sums.Sum(i), stdHMAC(key, message); got != want {
			t.Fatalf("%d keys, %d bytes, key %d: HMAC is\n%x, want\n%x", len(keys), len(message), i, got, want)
		}
	}
}

func TestHMACOfEveryLength(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		random := rand.NewChaCha8([32]byte{1})
		message := make([]byte, 16389)
		random.Read(message)
		g, keys := draw(random, Width)
		for n := range 300 {
			checkHMAC(t, e, g, keys, message[:n])
		}
		for _, n := range []int{517, 1817, len(message)} {
			checkHMAC(t, e, g, keys, message[:n])
		}
	})
}

func TestGroupsOfEverySize(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		random := rand.NewChaCha8([32]byte{2})
		message := make([]byte, 200)
		for n := range Width + 1 {
			random.Read(message)
			g, keys := draw(random, n)
			checkHMAC(t, e, g, keys, message)
			checkDigest(t, e, g, keys, [32]byte(message))
		}
	})
}

// checkDigest compares the digests, and then blocks encrypted under them, with
// the standard library's.
func checkDigest(t *testing.T, e engine, g *Group, keys [][16]byte, prefix [32]byte) {
	t.Helper()
	var sums Sums
	e.digest(g, &prefix, &sums)
	var asKeys [Width][32]byte
	for i, key := range keys {
		asKeys[i] = sums.Sum(i)
		if want := sha256.Sum256(append(prefix[:], key[:]...)); asKeys[i] != want {
			t.Fatalf("%d keys, key %d: digest is\n%x, want\n%x", len(keys), i, asKeys[i], want)
		}
	}
	block := [16]byte(prefix[:])
	var out, untouched [Width][16]byte
	e.encryptAES(out[:len(keys)], asKeys[:len(keys)], &block)
	for i := range keys {
		var want [16]byte
		cipher, _ := aes.NewCipher(asKeys[i][:])
		cipher.Encrypt(want[:], block[:])
		if out[i] != want {
			t.Fatalf("%d keys, key %d: block is\n%x, want\n%x", len(keys), i, out[i], want)
		}
	}
	if !bytes.Equal(flat(out[len(keys):]), flat(untouched[len(keys):])) {
		t.Fatalf("%d keys: wrote behind the last", len(keys))
	}
}

func flat(blocks [][16]byte) (b []byte) {
	for _, block := range blocks {
		b = append(b, block[:]...)
	}
	return b
}

// "Partial groups": what a group held before it was reset has no say.
func TestGroupAndSumsServeAgain(t *testing.T) {
	random := rand.NewChaCha8([32]byte{3})
	g, keys := draw(random, Width)
	m := NewMessage([]byte("one message, "), nil, []byte("many groups"))
	var sums Sums
	g.HMAC(&m, &sums)
	last := stdHMAC(keys[Width-1], m.bytes())
	if k := sums.Find((*[28]byte)(last[:])); k != Width-1 {
		t.Fatalf("Find: %d, want %d", k, Width-1)
	}
	g.Reset()
	for i := range 5 {
		g.Add(&keys[i])
	}
	g.HMAC(&m, &sums)
	if k := sums.Find((*[28]byte)(last[:])); k != -1 {
		t.Errorf("a key that is no longer there: %d", k)
	}
	if got, want := sums.Sum(4), stdHMAC(keys[4], m.bytes()); got != want {
		t.Errorf("second group: %x, want %x", got, want)
	}
	var out [Width][16]byte
	if n := sums.EncryptAES(new([16]byte), &out); n != 5 || out[4] == out[3] || out[5] != [16]byte{} {
		t.Errorf("EncryptAES of 5 keys: %d blocks, %x", n, out)
	}
}

// "First match wins", and each of the 28 bytes counts.
func TestFindComparesAllBytesAndReturnsTheFirst(t *testing.T) {
	random := rand.NewChaCha8([32]byte{4})
	_, keys := draw(random, Width)
	g := new(Group)
	for i := range Width {
		g.Add(&keys[i%8])
	}
	m := NewMessage([]byte("hello"))
	var sums Sums
	g.HMAC(&m, &sums)
	for i := range Width {
		sum := sums.Sum(i)
		begin := (*[28]byte)(sum[:])
		if got := sums.Find(begin); got != i%8 {
			t.Errorf("Find: %d, want %d", got, i%8)
		}
		for at := range begin {
			begin[at] ^= 0x80
			if got := sums.Find(begin); got != -1 {
				t.Errorf("byte %d changed: found at %d", at, got)
			}
			begin[at] ^= 0x80
		}
	}
	if got := new(Sums).Find(new([28]byte)); got != -1 {
		t.Errorf("found at %d of no sums", got)
	}
}

func TestMoreThanAGroupIsAMistake(t *testing.T) {
	g, keys := draw(rand.NewChaCha8([32]byte{}), Width)
	defer func() {
		if recover() == nil {
			t.Error("a 17th key was taken")
		}
	}()
	g.Add(&keys[0])
}

func TestOneKeyIsTheSameAsMany(t *testing.T) {
	key := [16]byte{1, 2, 3}
	if got, want := HMAC(&key, []byte("a"), nil, []byte("bc")), stdHMAC(key, []byte("abc")); got != want {
		t.Errorf("HMAC is\n%x, want\n%x", got, want)
	}
	if n := testing.AllocsPerRun(20, func() { HMAC(&key, key[:], key[:]) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func TestTryingKeysAllocatesNothing(t *testing.T) {
	g, _ := draw(rand.NewChaCha8([32]byte{}), Width)
	m := NewMessage(make([]byte, 517))
	var sums Sums
	if n := testing.AllocsPerRun(20, func() {
		g.HMAC(&m, &sums)
		sums.Find(new([28]byte))
		g.Digest(new([32]byte), &sums)
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func FuzzAgainstTheStandardLibrary(f *testing.F) {
	f.Add([]byte("message"), []byte("keys that are longer than 16 bytes"))
	f.Add(make([]byte, 55), make([]byte, 16*Width))
	f.Fuzz(func(t *testing.T, message, material []byte) {
		g, keys := new(Group), [][16]byte(nil)
		for ; len(material) >= 16 && len(keys) < Width; material = material[16:] {
			keys = append(keys, [16]byte(material))
			g.Add(&keys[len(keys)-1])
		}
		var prefix [32]byte
		copy(prefix[:], message)
		for e := plain; e <= best; e++ {
			checkHMAC(t, e, g, keys, message)
			checkDigest(t, e, g, keys, prefix)
		}
	})
}

// BenchmarkGroup is for 16 keys: divide by 16.
func BenchmarkGroup(b *testing.B) {
	g, _ := draw(rand.NewChaCha8([32]byte{}), Width)
	m := NewMessage(make([]byte, 1817))
	var (
		sums Sums
		out  [Width][16]byte
		keys [Width][32]byte
	)
	for e := plain; e <= best; e++ {
		for _, work := range []struct {
			name string
			run  func()
		}{
			{"HMAC of 1817 bytes", func() { e.hmac(g, &m, &sums) }},
			{"Digest", func() { e.digest(g, new([32]byte), &sums) }},
			{"AES", func() { e.encryptAES(out[:], keys[:], new([16]byte)) }},
		} {
			b.Run(fmt.Sprint(name(e), "/", work.name), func(b *testing.B) {
				for b.Loop() {
					work.run()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/Width, "ns/key")
			})
		}
	}
}
