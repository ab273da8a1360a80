package mtproxy

// KeySet is the keys of some secrets, ready to be tried on a client. It does not
// change and may be used concurrently.
type KeySet struct{ keys [][16]byte }

// NewKeySet returns the keys of secrets, in their order.
func NewKeySet(secrets ...Secret) *KeySet {
	set := &KeySet{keys: make([][16]byte, len(secrets))}
	for i := range secrets {
		set.keys[i] = secrets[i].Key
	}
	return set
}

// Keys returns the keys, which must not be changed.
func (s *KeySet) Keys() [][16]byte { return s.keys }

// Len returns how many keys are in the set.
func (s *KeySet) Len() int { return len(s.keys) }
