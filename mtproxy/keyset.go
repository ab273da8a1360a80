package mtproxy

// KeySet is an immutable set of secrets' keys, as a server tries them on a
// client. It may be used concurrently.
type KeySet struct{ keys [][16]byte }

// NewKeySet returns the keys of secrets, in the same order.
func NewKeySet(secrets ...Secret) *KeySet {
	set := &KeySet{keys: make([][16]byte, len(secrets))}
	for i := range secrets {
		set.keys[i] = secrets[i].Key
	}
	return set
}

// Keys returns the keys. The slice belongs to s and must not be changed.
func (s *KeySet) Keys() [][16]byte { return s.keys }

// Slice returns the set of the keys with an index from start to end-1, which it
// shares with s.
func (s *KeySet) Slice(start, end int) *KeySet { return &KeySet{s.keys[start:end:end]} }

// Len returns the number of keys.
func (s *KeySet) Len() int { return len(s.keys) }
