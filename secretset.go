package mtwire

// SecretSet is secrets made ready to be tried on a client. It does not change,
// and may be used concurrently.
type SecretSet struct {
	secrets []Secret
	keys    [][16]byte
}

// NewSecretSet makes a set of secrets. It keeps the slice.
func NewSecretSet(secrets ...Secret) *SecretSet {
	set := &SecretSet{secrets: secrets, keys: make([][16]byte, len(secrets))}
	for i := range secrets {
		set.keys[i] = secrets[i].Key
	}
	return set
}

// Len returns how many secrets are in the set.
func (s *SecretSet) Len() int { return len(s.secrets) }

// SecretQuery is what is known of a client whose secret is looked for.
type SecretQuery struct {
	// FakeTLS means that it sent a FakeTLS hello, and ServerName is the host
	// in it, "" if none is. Otherwise it sent an init payload.
	FakeTLS    bool
	ServerName string

	// Length is the length of the hello or init payload, in bytes. To try a
	// secret on a hello takes time in proportion to it.
	Length int
}
