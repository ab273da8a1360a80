package webproxy

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"log/slog"

	"github.com/mtwire/mtwire/mtproxy"
)

// Contexts of the two versions of a capability: without and with a base path.
const (
	contextV1 = "tdesktop-web-proxy-bridge-v1\n"
	contextV2 = "tdesktop-web-proxy-bridge-v2\n"
)

// tokenText is the length of 32 bytes in base64url: of a capability, and of each
// token.
const tokenText = 43

// Capability is the credential that an app sends to get a relay's page, in the
// query "bridge". It follows from a secret, a host and a base path, and changes
// only with them.
//
//	base path empty   HMAC-SHA256(key, "tdesktop-web-proxy-bridge-v1\n" HOST)
//	otherwise         HMAC-SHA256(key, "tdesktop-web-proxy-bridge-v2\n" HOST "\n" PATH)
//
// The key is the secret's bytes, with dd in front if it is padded. So a user's key
// has two capabilities, and a relay knows the mode from the one that is used.
//
// Compare capabilities of peers with Equal, not with ==, which does not take
// constant time.
type Capability [sha256.Size]byte

// Capability returns the capability of l's secret for its host and path. l must
// be valid.
func (l Link) Capability() Capability { return DeriveCapability(l.Secret, l.Host, l.Path) }

// DeriveCapability returns the capability of secret, which is plain or padded, for
// a host and a base path as CheckHost and CheckPath accept them.
func DeriveCapability(secret mtproxy.Secret, host, path string) (c Capability) {
	mac := hmac.New(sha256.New, secret.Bytes())
	if path == "" {
		mac.Write([]byte(contextV1 + host))
	} else {
		mac.Write([]byte(contextV2 + host + "\n" + path))
	}
	mac.Sum(c[:0])
	return c
}

// ParseCapability parses the 43 characters of base64url that String returns. It
// reports false for every other spelling of the same bytes.
func ParseCapability(text string) (Capability, bool) { return parseToken(text) }

// String returns c in base64url without "=". It is a credential: do not log it.
func (c Capability) String() string { return base64.RawURLEncoding.EncodeToString(c[:]) }

// LogValue keeps c out of structured logs.
func (c Capability) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// Equal reports in constant time whether c and other are the same.
func (c Capability) Equal(other Capability) bool {
	return subtle.ConstantTimeCompare(c[:], other[:]) == 1
}

// parseToken parses 32 bytes in canonical base64url.
func parseToken(text string) (token [32]byte, ok bool) {
	if len(text) != tokenText {
		return token, false
	}
	// DecodeString skips line breaks, so that a text with one is shorter.
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != len(token) {
		return token, false
	}
	return [32]byte(b), true
}
