package keysearch

import (
	"context"
	"testing"

	"github.com/mtwire/mtwire/mtproxy"
)

// A key that is refused is searched for, charged and remembered as one that no entry
// has: every other key is tried once. An entry with the same key is found.
func TestRefusedKeysAreAsUnknownOnes(t *testing.T) {
	for _, n := range []int{3, 10000} {
		for _, at := range []int{0, 1, n / 2, n - 1} {
			entries := entriesOf(0, n, mtproxy.Padded, "")
			s := New(Config{})
			index := s.NewIndex(entries)
			tried, refused := 0, 0
			q := Query{Length: 64, Refused: func(entry int) bool {
				refused++
				return entry == at
			}}
			find := func() (int, Outcome) {
				tried = 0
				return s.Find(context.Background(), index, address(1), q, func(set *mtproxy.KeySet) int {
					for i, key := range set.Keys() {
						tried++
						if key == keyOf(at) {
							return i
						}
					}
					return -1
				})
			}
			for range 2 {
				if entry, outcome := find(); entry != -1 || outcome != NoMatch || tried != n {
					t.Errorf("entry %d of %d is found as %d, outcome %d, %d keys tried", at, n, entry, outcome, tried)
				}
			}
			if refused != 2 {
				t.Errorf("asked %d times", refused)
			}
			if n > fewSecrets && s.queue.limits.total.level == 0 {
				t.Error("the searches cost nothing")
			}
			index = s.NewIndex(append(entries, Entry{mtproxy.Secret{Key: keyOf(at), Domain: "b"}, mtproxy.DD}))
			if entry, outcome := find(); entry != n || outcome != Found {
				t.Errorf("the other entry is found as %d, outcome %d", entry, outcome)
			}
		}
	}
}
