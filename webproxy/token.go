package webproxy

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
)

// token is a credential that a relay has made: 16 random bytes and the first 16 of
// an HMAC, so that a relay knows its own after a restart, and a request with one
// never reaches the site.
type token [32]byte

const tokenContext = "tproxy-server-token-v1\x00"

// Kinds of tokens.
const (
	bootstrapToken = 1 // in the page; makes a session
	sessionToken   = 2
)

func (t token) String() string { return base64.RawURLEncoding.EncodeToString(t[:]) }

// tokenKey is the key of a relay's tokens.
type tokenKey [32]byte

// issue returns a new token.
func (k *tokenKey) issue(kind byte) (t token) {
	rand.Read(t[:16])
	k.sign(&t, kind, t[16:])
	return t
}

func (k *tokenKey) sign(t *token, kind byte, sum []byte) {
	mac := hmac.New(sha256.New, k[:])
	mac.Write([]byte(tokenContext))
	mac.Write([]byte{kind})
	mac.Write(t[:16])
	copy(sum, mac.Sum(nil))
}

// verify reports in constant time whether t is a token of a kind.
func (k *tokenKey) verify(t token, kind byte) bool {
	var sum [16]byte
	k.sign(&t, kind, sum[:])
	return subtle.ConstantTimeCompare(sum[:], t[16:]) == 1
}

// own reports whether text is a token of this relay, of either kind.
func (k *tokenKey) own(text string) bool {
	t, ok := parseToken(text)
	bootstrap, session := k.verify(t, bootstrapToken), k.verify(t, sessionToken)
	return ok && (bootstrap || session)
}
