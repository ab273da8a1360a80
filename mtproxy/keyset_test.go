package mtproxy

import (
	"slices"
	"testing"
)

// A key's index is that of its secret, whatever the modes are, and a secret that
// occurs twice has both indexes.
func TestKeySetKeepsTheOrderOfTheSecrets(t *testing.T) {
	other := [16]byte{1}
	secrets := []Secret{
		{Mode: FakeTLS, Key: other, Domain: "example.com"},
		{Mode: Plain, Key: countingKey},
		{Mode: Padded, Key: other},
		{},
	}
	set := NewKeySet(secrets...)
	if want := [][16]byte{other, countingKey, other, {}}; !slices.Equal(set.Keys(), want) || set.Len() != len(want) {
		t.Errorf("%d keys: %x, want %x", set.Len(), set.Keys(), want)
	}
	clear(secrets)
	if set.Keys()[1] != countingKey {
		t.Error("the set changed with the caller's slice")
	}
}

func TestKeySetOfNoSecretsIsEmpty(t *testing.T) {
	if set := NewKeySet(); set.Len() != 0 || len(set.Keys()) != 0 {
		t.Errorf("%d keys: %x", set.Len(), set.Keys())
	}
}

func TestSliceOfAKeySetHasTheKeysBetweenTwoIndexes(t *testing.T) {
	set := NewKeySet(Secret{Key: [16]byte{0}}, Secret{Key: [16]byte{1}}, Secret{Key: [16]byte{2}}, Secret{Key: [16]byte{3}})
	for start := range 5 {
		for end := start; end <= 4; end++ {
			if got := set.Slice(start, end); !slices.Equal(got.Keys(), set.Keys()[start:end]) || cap(got.Keys()) != end-start {
				t.Errorf("%d to %d: %x", start, end, got.Keys())
			}
		}
	}
}
