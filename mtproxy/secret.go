package mtproxy

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// Mode is the transport that a proxy secret's first byte selects for a client.
// Servers ignore it: only the key enters the ciphers.
type Mode uint8

const (
	// Plain is a bare key: obfuscation, in a framing that the client chooses.
	Plain Mode = iota + 1
	// Padded is "dd" and a key: obfuscation with padded intermediate framing.
	Padded
	// FakeTLS is "ee", a key and a domain: the same as Padded, inside an
	// imitation of a TLS connection to the domain.
	FakeTLS
)

const (
	keyLength = 16

	paddedByte  = 0xdd
	fakeTLSByte = 0xee

	// maxDomainLength is TDLib's limit. Its ClientHello has a fixed length, so a
	// longer name takes bytes from the padding until none is left. The official
	// library refuses links with longer names.
	maxDomainLength = 182
)

// String returns "plain", "padded" or "faketls".
func (m Mode) String() string {
	switch m {
	case Plain:
		return "plain"
	case Padded:
		return "padded"
	case FakeTLS:
		return "faketls"
	}
	return "none"
}

// Secret is the credential of an MTProxy's clients: a key, and the mode in which
// to use it. Its binary form is
//
//	key                 plain     16 bytes
//	dd | key            padded    17 bytes
//	ee | key | domain   faketls   18 bytes or more; the domain has no length
//	                              before it and runs to the end
//
// The zero value is no secret, which differs from a plain secret whose key is
// zero. Secrets can be compared with == and used as map keys. That comparison
// does not take constant time: use it for configuration, not for bytes from a
// peer.
//
// String and MarshalText return the whole secret, for configuration and links;
// Redacted and LogValue leave the key out. Package fmt calls String, so log
// s.Redacted() instead. Errors contain lengths, the first byte and the invalid
// character, and never more of the text.
//
// Specification: https://core.telegram.org/mtproto/mtproto-transports#transport-obfuscation
type Secret struct {
	Mode   Mode
	Key    [16]byte
	Domain string // the server name in the ClientHello; FakeTLS only
}

// NewSecret returns a secret with a fresh key from random. If random is nil,
// NewSecret uses crypto/rand.Reader. The domain must be empty unless mode is
// FakeTLS.
//
// The first byte of the key is never dd or ee: some clients remove these digits
// from the front of any secret, and are then left with 15 bytes.
func NewSecret(random io.Reader, mode Mode, domain string) (Secret, error) {
	if random == nil {
		random = rand.Reader
	}
	s := Secret{Mode: mode, Domain: domain, Key: [16]byte{1}}
	if err := s.check(); err != nil {
		return Secret{}, err
	}
	if _, err := io.ReadFull(random, s.Key[:]); err != nil {
		return Secret{}, fmt.Errorf("no random bytes for a secret: %w", err)
	}
	if b := s.Key[0]; b == paddedByte || b == fakeTLSByte {
		s.Key[0] ^= 0x80
	}
	return s, nil
}

// ParseSecretBytes parses the binary form. It keeps no reference to b.
//
// It accepts 16 bytes, dd with a key, and ee with a key and a domain. Clients
// disagree about everything else (some cut it to 16 bytes, some ignore the first
// byte), so ParseSecretBytes refuses it.
func ParseSecretBytes(b []byte) (Secret, error) {
	var s Secret
	switch n := len(b); {
	case n < keyLength:
		return Secret{}, fmt.Errorf("bad secret: %d bytes, want at least %d", n, keyLength)
	case n == keyLength:
		s.Mode = Plain
		copy(s.Key[:], b)
	case b[0] == paddedByte && n == 1+keyLength:
		s.Mode = Padded
		copy(s.Key[:], b[1:])
	case b[0] == paddedByte:
		return Secret{}, fmt.Errorf("bad secret: %d bytes with first byte dd, want exactly %d", n, 1+keyLength)
	case b[0] == fakeTLSByte:
		s.Mode = FakeTLS
		copy(s.Key[:], b[1:])
		s.Domain = string(b[1+keyLength:])
	default:
		return Secret{}, fmt.Errorf("unsupported secret: %d bytes with first byte %02x, want %d bytes, or first byte dd or ee", n, b[0], keyLength)
	}
	if err := s.check(); err != nil {
		return Secret{}, err
	}
	return s, nil
}

// ParseSecret parses a secret in hexadecimal, base64url or base64, the last two
// with or without "=" at the end. Text that is valid hexadecimal of 16 bytes or
// more is decoded as hexadecimal. The first decoded byte selects the mode, and
// the letters do not: base64 text can begin with "dd" or "ee" by chance.
func ParseSecret(text string) (Secret, error) {
	if text == "" {
		return Secret{}, errors.New("bad secret: empty")
	}
	if b, err := hex.DecodeString(text); err == nil && len(b) >= keyLength {
		return ParseSecretBytes(b)
	}
	b, err := decodeBase64(text)
	var s Secret
	if err == nil {
		s, err = ParseSecretBytes(b)
	}
	if err != nil && !strings.ContainsFunc(text, notHexDigit) {
		// This is far more likely a truncated hexadecimal secret than base64
		// without a single letter after f.
		return Secret{}, fmt.Errorf("bad secret: %d hexadecimal digits, want an even number from %d up", len(text), 2*keyLength)
	}
	return s, err
}

func notHexDigit(r rune) bool {
	return !('0' <= r && r <= '9' || 'a' <= r && r <= 'f' || 'A' <= r && r <= 'F')
}

// decodeBase64 decodes base64url, or base64 if "+" or "/" occurs. It refuses line
// breaks itself, because package base64 skips them.
func decodeBase64(text string) ([]byte, error) {
	encoding := base64.RawURLEncoding
	if strings.ContainsAny(text, "+/") {
		encoding = base64.RawStdEncoding
		if strings.ContainsAny(text, "-_") {
			return nil, errors.New("bad secret: + or / of base64 mixed with - or _ of base64url")
		}
	}
	digits := text
	for range 2 {
		digits = strings.TrimSuffix(digits, "=")
	}
	for i, r := range digits {
		if notHexDigit(r) && !('g' <= r && r <= 'z' || 'G' <= r && r <= 'Z' || strings.ContainsRune("+/-_", r)) {
			return nil, fmt.Errorf("bad secret: character %q at offset %d is neither hexadecimal nor base64", r, i)
		}
	}
	b, err := encoding.DecodeString(digits)
	if err != nil {
		return nil, fmt.Errorf("bad secret: %d base64 characters are not a whole number of bytes", len(digits))
	}
	return b, nil
}

// check returns an error unless s has a binary form that ParseSecretBytes parses
// as s.
func (s Secret) check() error {
	switch s.Mode {
	case Plain, Padded:
		if s.Domain != "" {
			return fmt.Errorf("bad secret: a %v secret has no domain", s.Mode)
		}
		return nil
	case FakeTLS:
		return checkDomain(s.Domain)
	case 0:
		if s != (Secret{}) {
			return errors.New("bad secret: no mode")
		}
		return errors.New("no secret")
	}
	return fmt.Errorf("bad secret: unknown mode %d", uint8(s.Mode))
}

// checkDomain returns an error unless domain is a host name in ASCII, the form
// that a ClientHello carries.
func checkDomain(domain string) error {
	switch n := len(domain); {
	case n == 0:
		return errors.New("bad secret: FakeTLS (ee) needs a domain behind the key")
	case n > maxDomainLength:
		return fmt.Errorf("bad secret: domain of %d bytes, TDLib clients accept at most %d", n, maxDomainLength)
	}
	for i := range len(domain) {
		c := domain[i]
		switch {
		case c >= 0x80:
			return fmt.Errorf("bad secret: byte %02x at offset %d of the domain is not ASCII; international names go in as xn--", c, i)
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '-', c == '.', c == '_':
		default:
			return fmt.Errorf("bad secret: %q at offset %d of the domain does not belong in a host name", c, i)
		}
	}
	return nil
}

// Bytes returns the binary form in a new slice, or nil for no secret.
func (s Secret) Bytes() []byte {
	switch s.Mode {
	case Plain:
		return append([]byte(nil), s.Key[:]...)
	case Padded:
		return append([]byte{paddedByte}, s.Key[:]...)
	case FakeTLS:
		return append(append([]byte{fakeTLSByte}, s.Key[:]...), s.Domain...)
	}
	return nil
}

// String returns the whole secret in hexadecimal, which every client supports.
// ParseSecret returns an equal Secret for it.
func (s Secret) String() string { return hex.EncodeToString(s.Bytes()) }

// Base64URL returns the whole secret in base64url without "=", a third shorter
// than String. ParseSecret never decodes the result as hexadecimal: plain and
// padded secrets are too short, and after the first byte ee the second letter is
// never below g.
func (s Secret) Base64URL() string { return base64.RawURLEncoding.EncodeToString(s.Bytes()) }

// Redacted returns the part of the secret that may be logged: its mode, and its
// domain, which every ClientHello reveals. It contains nothing of the key.
func (s Secret) Redacted() string {
	switch s.Mode {
	case 0:
		return "none"
	case FakeTLS:
		return "faketls:[redacted]:" + s.Domain
	}
	return s.Mode.String() + ":[redacted]"
}

// LogValue returns Redacted, which keeps the key out of structured logs if the
// Secret itself is the value of an attribute. Package slog does not call LogValue
// for the fields of a struct: a struct with a Secret needs its own LogValue.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.Redacted()) }

// MarshalText returns the same text as String. It returns an error for the zero
// Secret and for a Secret that ParseSecret would refuse.
func (s Secret) MarshalText() ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	return []byte(s.String()), nil
}

// UnmarshalText parses text with ParseSecret. After an error s is unchanged.
func (s *Secret) UnmarshalText(text []byte) error {
	parsed, err := ParseSecret(string(text))
	if err != nil {
		return err
	}
	*s = parsed
	return nil
}
