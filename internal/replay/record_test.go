package replay

import (
	"bytes"
	"slices"
	"testing"
)

// logOf returns a log with the ids of the given numbers.
func logOf(numbers ...int) (b []byte) {
	for _, n := range numbers {
		b = appendRecord(b, idOf(n))
	}
	return b
}

// parseAll parses b as a whole.
func parseAll(b []byte) (ids [][16]byte, n int) {
	n = parse(b, func(id [16]byte) { ids = append(ids, id) })
	return ids, n
}

func idsOf(numbers ...int) (ids [][16]byte) {
	for _, n := range numbers {
		ids = append(ids, idOf(n))
	}
	return ids
}

// A log that ends at any byte has all records before that.
func TestATornEndIsIgnored(t *testing.T) {
	b := logOf(1, 2, 3, 4)
	for length := range len(b) + 1 {
		ids, n := parseAll(b[:length])
		whole := length / recordLength
		if !slices.Equal(ids, idsOf(1, 2, 3, 4)[:whole]) || n != whole*recordLength {
			t.Errorf("%d bytes: %d ids, %d bytes parsed", length, len(ids), n)
		}
	}
}

// A process appends whole records after a torn one.
func TestRecordsAfterATornOneAreFound(t *testing.T) {
	for torn := range recordLength {
		b := slices.Concat(logOf(1, 2), logOf(3)[:torn], logOf(4, 5))
		if ids, _ := parseAll(b); !slices.Equal(ids, idsOf(1, 2, 4, 5)) {
			t.Errorf("%d bytes of a record in between: %x", torn, ids)
		}
	}
}

// A flipped bit takes one record.
func TestAFlippedBitTakesOneRecord(t *testing.T) {
	for bit := range 8 * len(logOf(1, 2, 3)) {
		b := logOf(1, 2, 3)
		b[bit/8] ^= 1 << (bit % 8)
		want := idsOf(1, 2, 3)
		want = slices.Delete(want, bit/8/recordLength, bit/8/recordLength+1)
		if ids, _ := parseAll(b); !slices.Equal(ids, want) {
			t.Errorf("bit %d: %x, want %x", bit, ids, want)
		}
	}
}

// Blocks of zeros, or of ones, are no records.
func TestErasedBlocksAreNoRecords(t *testing.T) {
	for _, erased := range []byte{0, 0xff} {
		b := slices.Concat(logOf(1), bytes.Repeat([]byte{erased}, 4096), logOf(2))
		if ids, _ := parseAll(b); !slices.Equal(ids, idsOf(1, 2)) {
			t.Errorf("%x: %x", erased, ids)
		}
	}
}

// A log may have any bytes. What parse takes for a record is one, the ids are the
// same however a log is divided, and all of it is parsed but for less than a
// record.
func FuzzParse(f *testing.F) {
	f.Add([]byte(nil), 0)
	f.Add(logOf(1, 2, 3), 30)
	f.Add(slices.Concat(logOf(1), logOf(2)[:7], logOf(3)), 22)
	f.Add(slices.Concat(logOf(1), make([]byte, 100), logOf(3)), 60)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		ids, n := parseAll(b)
		if n < 0 || n > len(b) || len(b)-n >= recordLength {
			t.Fatalf("%d of %d bytes parsed", n, len(b))
		}
		rest := b[:n]
		for _, id := range ids {
			_, after, found := bytes.Cut(rest, appendRecord(nil, id))
			if !found {
				t.Fatalf("there is no record of %x", id)
			}
			rest = after
		}
		if cut < 0 || cut > len(b) {
			return
		}
		first, n := parseAll(b[:cut])
		second, _ := parseAll(b[n:])
		if !slices.Equal(slices.Concat(first, second), ids) {
			t.Fatalf("in two parts, of which the second begins at %d: %x and %x, want %x", n, first, second, ids)
		}
	})
}
