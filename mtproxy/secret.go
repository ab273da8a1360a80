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

// Mode is what a proxy secret's first byte tells a client to do. The server
// has no use for it: only the key enters the ciphers.
type Mode uint8

const (
	// Plain is a bare key: obfuscation with the client's own choice of
	// framing.
	Plain Mode = iota + 1
	// Padded is "dd" and a key: obfuscation with padded intermediate framing.
	Padded
	// FakeTLS is "ee", a key and a domain: what Padded does, inside something
	// that looks like a TLS connection to the domain.
	FakeTLS
)

const (
	keyLength = 16

	paddedByte  = 0xdd
	fakeTLSByte = 0xee

	// maxDomainLength is TDLib's limit. Its ClientHello has a fixed length, made
	// up with padding, so the name can only grow as long as padding is left.
	// A longer name would give links that the official library refuses.
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

// Secret is what a client must know to use an MTProxy: a key, and the mode
// that goes with it. Its binary form is
//
//	key                 plain     16 bytes
//	dd | key            padded    17 bytes
//	ee | key | domain   faketls   18 bytes or more; the domain has no length
//	                              before it and runs to the end
//
// The zero value is no secret at all; that differs from a plain secret whose
// key is zero. Secrets can be compared with == and used as map keys. That
// comparison is not in constant time, so it is for configuration, not for
// what a peer sent.
//
// A secret is a credential. String and MarshalText write it out, because
// configuration and links need it; Redacted, and LogValue with it, leave the
// key out. Package fmt uses String, so write s.Redacted() where a person will
// read it. Errors tell lengths, the first byte, and the character at fault, never
// more of the text.
//
// Specification: https://core.telegram.org/mtproto/mtproto-transports#transport-obfuscation
type Secret struct {
	Mode   Mode
	Key    [16]byte
	Domain string // the server name in the ClientHello; FakeTLS only
}

// NewSecret makes a secret with a fresh key from random, which is
// crypto/rand.Reader if nil. The domain must be empty unless mode is FakeTLS.
//
// The first byte of the key is never dd or ee: some clients take these digits
// off the front of any secret, and then lack a byte.
func NewSecret(random io.Reader, mode Mode, domain string) (Secret, error) {
	if random == nil {
		random = rand.Reader
	}
	s := Secret{Mode: mode, Domain: domain}
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

// ParseSecretBytes reads the binary form. It keeps no reference to b.
//
// Only 16 bytes, dd with a key, and ee with a key and a domain are secrets.
// Clients disagree about anything else (some cut it to 16 bytes, some ignore
// the first byte), so it is refused.
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

// ParseSecret reads a secret as people pass it on: in hexadecimal, base64url
// or base64, the last two with or without "=" at the end. Text that is good
// hexadecimal of 16 bytes or more is taken as that. The mode is decided by the
// first byte once decoded, never by letters: base64 text may begin with "dd"
// or "ee" by chance.
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
		// Far more likely a hexadecimal secret cut short than base64 without
		// a single letter behind f.
		return Secret{}, fmt.Errorf("bad secret: %d hexadecimal digits, want an even number from %d up", len(text), 2*keyLength)
	}
	return s, err
}

func notHexDigit(r rune) bool {
	return !('0' <= r && r <= '9' || 'a' <= r && r <= 'f' || 'A' <= r && r <= 'F')
}

// decodeBase64 reads base64url, or base64 if one of its two own characters
// occurs. The decoder skips line breaks, so they are refused before it runs.
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

// check says whether s has a binary form that reads back as s.
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
		return errors.New("no secret")
	}
	return fmt.Errorf("bad secret: unknown mode %d", uint8(s.Mode))
}

// checkDomain accepts a host name in ASCII, as the ClientHello carries it.
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

// Bytes returns the binary form in a new slice; nil for no secret.
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

// String returns the whole secret in hexadecimal, which every client reads.
// ParseSecret reads it back as it was.
func (s Secret) String() string { return hex.EncodeToString(s.Bytes()) }

// Base64URL returns the whole secret in base64url without "=", a third shorter
// than String. ParseSecret never takes it for hexadecimal: plain and padded
// are too short, and the first byte ee always gives a second letter from g on.
func (s Secret) Base64URL() string { return base64.RawURLEncoding.EncodeToString(s.Bytes()) }

// Redacted returns what may be shown of the secret: its mode and its domain,
// which any ClientHello shows too. It has nothing of the key.
func (s Secret) Redacted() string {
	switch s.Mode {
	case 0:
		return "none"
	case FakeTLS:
		return "faketls:[redacted]:" + s.Domain
	}
	return s.Mode.String() + ":[redacted]"
}

// LogValue keeps the key out of structured logs: it is Redacted. It holds for
// a Secret that is itself the value of an attribute. A field of another struct
// is out of package slog's sight, so that struct needs a LogValue of its own.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.Redacted()) }

// MarshalText writes what String returns. It fails for the zero Secret and for
// one that no client could read.
func (s Secret) MarshalText() ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	return []byte(s.String()), nil
}

// UnmarshalText reads what ParseSecret reads.
func (s *Secret) UnmarshalText(text []byte) error {
	parsed, err := ParseSecret(string(text))
	if err != nil {
		return err
	}
	*s = parsed
	return nil
}
