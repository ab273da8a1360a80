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

// each runs a test with every engine that this processor has.
func each(t *testing.T, run func(t *testing.T, e engine)) {
	for e := generic; e <= best; e++ {
		t.Run(name(e), func(t *testing.T) { run(t, e) })
	}
}

func name(e engine) string { return [...]string{"generic", "AVX2", "AVX-512"}[e] }

// draw returns a batch of n random keys, and the keys.
func draw(random *rand.ChaCha8, n int) (*Batch, [][16]byte) {
	batch, keys := new(Batch), make([][16]byte, n)
	for i := range keys {
		random.Read(keys[i][:])
		batch.Add(&keys[i])
	}
	return batch, keys
}

// stdHMAC is the standard library's HMAC-SHA256.
func stdHMAC(key [16]byte, message []byte) (digest [32]byte) {
	h := hmac.New(sha256.New, key[:])
	h.Write(message)
	return [32]byte(h.Sum(nil))
}

func checkHMAC(t *testing.T, e engine, batch *Batch, keys [][16]byte, message []byte) {
	t.Helper()
	var digests Digests
	m := NewMessage(message)
	e.hmac(batch, &m, &digests)
	for i, key := range keys {
		if got, want := digests.Digest(i), stdHMAC(key, message); got != want {
			t.Fatalf("%d keys, %d bytes, key %d: HMAC is\n%x, want\n%x", len(keys), len(message), i, got, want)
		}
	}
}

func TestHMACOfEveryLengthMatchesTheStandardLibrary(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		random := rand.NewChaCha8([32]byte{1})
		message := make([]byte, 16389)
		random.Read(message)
		batch, keys := draw(random, Width)
		for n := range 300 {
			checkHMAC(t, e, batch, keys, message[:n])
		}
		for _, n := range []int{517, 1817, len(message)} {
			checkHMAC(t, e, batch, keys, message[:n])
		}
	})
}

func TestBatchOfEverySizeMatchesTheStandardLibrary(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		random := rand.NewChaCha8([32]byte{2})
		message := make([]byte, 200)
		for n := range Width + 1 {
			random.Read(message)
			batch, keys := draw(random, n)
			checkHMAC(t, e, batch, keys, message)
			checkSHA256(t, e, batch, keys, [32]byte(message))
		}
	})
}

// checkSHA256 compares the digests, and a block encrypted under each of them, with
// the standard library's.
func checkSHA256(t *testing.T, e engine, batch *Batch, keys [][16]byte, prefix [32]byte) {
	t.Helper()
	var digests Digests
	e.sha256(batch, &prefix, &digests)
	var asKeys [Width][32]byte
	for i, key := range keys {
		asKeys[i] = digests.Digest(i)
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
		t.Fatalf("%d keys: blocks behind the last are overwritten", len(keys))
	}
}

func flat(blocks [][16]byte) (b []byte) {
	for _, block := range blocks {
		b = append(b, block[:]...)
	}
	return b
}

// Keys from before a Reset do not affect a partial batch.
func TestBatchAndDigestsCanBeReused(t *testing.T) {
	random := rand.NewChaCha8([32]byte{3})
	batch, keys := draw(random, Width)
	m := NewMessage([]byte("one message, "), nil, []byte("many batches"))
	var digests Digests
	batch.HMAC(&m, &digests)
	last := stdHMAC(keys[Width-1], m.bytes())
	if k := digests.Find((*[28]byte)(last[:])); k != Width-1 {
		t.Fatalf("Find: %d, want %d", k, Width-1)
	}
	batch.Reset()
	for i := range 5 {
		batch.Add(&keys[i])
	}
	batch.HMAC(&m, &digests)
	if k := digests.Find((*[28]byte)(last[:])); k != -1 {
		t.Errorf("a removed key is found at %d", k)
	}
	if got, want := digests.Digest(4), stdHMAC(keys[4], m.bytes()); got != want {
		t.Errorf("second batch: %x, want %x", got, want)
	}
	var out [Width][16]byte
	if n := digests.EncryptAES(new([16]byte), &out); n != 5 || out[4] == out[3] || out[5] != [16]byte{} {
		t.Errorf("EncryptAES of 5 keys: %d blocks, %x", n, out)
	}
}

// A message that is set again has nothing of the one before, whichever is longer.
func TestMessageCanBeSetAgain(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		random := rand.NewChaCha8([32]byte{5})
		batch, keys := draw(random, Width)
		var m Message
		var digests Digests
		for _, n := range []int{1817, 0, 55, 56, 517, 119, 120, 16389, 1} {
			message := make([]byte, n)
			random.Read(message)
			m.Set(message[:n/3], nil, message[n/3:])
			e.hmac(batch, &m, &digests)
			if got, want := digests.Digest(7), stdHMAC(keys[7], message); got != want {
				t.Errorf("%d bytes: HMAC is\n%x, want\n%x", n, got, want)
			}
		}
	})
}

// Find returns the first of equal digests and compares all 28 bytes.
func TestFindComparesAllBytesAndReturnsTheFirst(t *testing.T) {
	random := rand.NewChaCha8([32]byte{4})
	_, keys := draw(random, Width)
	batch := new(Batch)
	for i := range Width {
		batch.Add(&keys[i%8])
	}
	m := NewMessage([]byte("hello"))
	var digests Digests
	batch.HMAC(&m, &digests)
	for i := range Width {
		digest := digests.Digest(i)
		begin := (*[28]byte)(digest[:])
		if got := digests.Find(begin); got != i%8 {
			t.Errorf("Find: %d, want %d", got, i%8)
		}
		for at := range begin {
			begin[at] ^= 0x80
			if got := digests.Find(begin); got != -1 {
				t.Errorf("byte %d changed: found at %d", at, got)
			}
			begin[at] ^= 0x80
		}
	}
	if got := new(Digests).Find(new([28]byte)); got != -1 {
		t.Errorf("found at %d of no digests", got)
	}
}

func TestAddToAFullBatchPanics(t *testing.T) {
	batch, keys := draw(rand.NewChaCha8([32]byte{}), Width)
	defer func() {
		if recover() == nil {
			t.Error("the 17th key does not panic")
		}
	}()
	batch.Add(&keys[0])
}

func TestHMACOfOneKeyMatchesTheStandardLibrary(t *testing.T) {
	key := [16]byte{1, 2, 3}
	if got, want := HMAC(&key, []byte("a"), nil, []byte("bc")), stdHMAC(key, []byte("abc")); got != want {
		t.Errorf("HMAC is\n%x, want\n%x", got, want)
	}
	if n := testing.AllocsPerRun(20, func() { HMAC(&key, key[:], key[:]) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func TestBatchDoesNotAllocate(t *testing.T) {
	batch, _ := draw(rand.NewChaCha8([32]byte{}), Width)
	m := NewMessage(make([]byte, 517))
	var digests Digests
	if n := testing.AllocsPerRun(20, func() {
		batch.HMAC(&m, &digests)
		digests.Find(new([28]byte))
		batch.SHA256(new([32]byte), &digests)
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// FuzzAgainstTheStandardLibrary compares every engine with the standard library, for
// any message and up to Width keys.
func FuzzAgainstTheStandardLibrary(f *testing.F) {
	f.Add([]byte("message"), []byte("keys that are longer than 16 bytes"))
	f.Add(make([]byte, 55), make([]byte, 16*Width))
	f.Fuzz(func(t *testing.T, message, material []byte) {
		batch, keys := new(Batch), [][16]byte(nil)
		for ; len(material) >= 16 && len(keys) < Width; material = material[16:] {
			keys = append(keys, [16]byte(material))
			batch.Add(&keys[len(keys)-1])
		}
		var prefix [32]byte
		copy(prefix[:], message)
		for e := generic; e <= best; e++ {
			checkHMAC(t, e, batch, keys, message)
			checkSHA256(t, e, batch, keys, prefix)
		}
	})
}

// BenchmarkBatch measures 16 keys at a time; ns/key is a sixteenth of ns/op.
func BenchmarkBatch(b *testing.B) {
	batch, _ := draw(rand.NewChaCha8([32]byte{}), Width)
	m := NewMessage(make([]byte, 1817))
	var (
		digests Digests
		out     [Width][16]byte
		keys    [Width][32]byte
	)
	for e := generic; e <= best; e++ {
		for _, work := range []struct {
			name string
			run  func()
		}{
			{"HMAC of 1817 bytes", func() { e.hmac(batch, &m, &digests) }},
			{"SHA-256", func() { e.sha256(batch, new([32]byte), &digests) }},
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
