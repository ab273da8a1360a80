package webproxy

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
)

// redact returns r for the site: r itself, unless it has a capability of a user or a
// token of this server in its URL or headers. Then it is a copy with other
// characters in their place and no body, so that they do not get into the site's
// logs and the site answers as it does a client without one.
func (s *Server) redact(r *http.Request) *http.Request {
	secrets := s.credentials(nil, r.RequestURI, r.URL.Path, r.URL.RawPath, r.URL.RawQuery)
	for _, values := range r.Header {
		secrets = s.credentials(secrets, values...)
	}
	if len(secrets) == 0 {
		return r
	}
	var random [32]byte
	rand.Read(random[:])
	other := base64.RawURLEncoding.EncodeToString(random[:])
	pairs := make([]string, 0, 2*len(secrets))
	for _, secret := range secrets {
		pairs = append(pairs, secret, other)
	}
	clean := cleaner{strings.NewReplacer(pairs...)}
	c := r.Clone(r.Context())
	c.RequestURI, c.URL.RawQuery = clean.escaped(c.RequestURI), clean.escaped(c.URL.RawQuery)
	c.URL.Path, c.URL.RawPath = clean.Replace(c.URL.Path), clean.escaped(c.URL.RawPath)
	c.Body, c.ContentLength, c.TransferEncoding = http.NoBody, 0, nil
	c.Header.Del("Content-Length")
	for _, values := range c.Header {
		for i := range values {
			values[i] = clean.escaped(values[i])
		}
	}
	return c
}

// cleaner replaces credentials.
type cleaner struct{ *strings.Replacer }

// escaped replaces them in a text in which they may be percent-escaped. Then all of
// it is unescaped, and escaped where it has to be.
func (c cleaner) escaped(text string) string {
	plain := unescape(text)
	if plain == text || c.Replace(plain) == plain {
		return c.Replace(text)
	}
	path, query, found := strings.Cut(c.Replace(plain), "?")
	text = (&url.URL{Path: path}).EscapedPath()
	if found {
		text += "?" + (&url.URL{Path: query}).EscapedPath()
	}
	return text
}

// credentials appends to found the credentials that are in texts, percent-escaped or
// not.
func (s *Server) credentials(found []string, texts ...string) []string {
	for _, text := range texts {
		found = s.scan(found, text)
		if strings.Contains(text, "%") {
			found = s.scan(found, unescape(text))
		}
	}
	return found
}

// unescape decodes what is percent-escaped in text. A % that begins no escape stays: servers
// get queries as they are.
func unescape(text string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "%")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		if plain, err := url.PathUnescape("%" + rest[:min(2, len(rest))]); err == nil {
			b.WriteString(plain)
			rest = rest[2:]
		} else {
			b.WriteByte('%')
		}
		text = rest
	}
}

// maxCandidates limits the work for a request that has many texts of a credential's
// length.
const maxCandidates = 64

// scan appends the credentials in text: 43 characters of base64url between others, or with
// more of these on one side, as a URL has that was not copied exactly.
func (s *Server) scan(found []string, text string) []string {
	start, candidates := 0, 0
	look := func(candidate string) {
		candidates++
		if s.user(candidate) != nil || s.key.own(candidate) {
			found = append(found, candidate)
		}
	}
	for i := 0; i <= len(text) && candidates < maxCandidates; i++ {
		if i < len(text) && isBase64URL(text[i]) {
			continue
		}
		if i-start >= tokenText {
			look(text[start : start+tokenText])
		}
		if i-start > tokenText {
			look(text[i-tokenText : i])
		}
		start = i + 1
	}
	return found
}

func isBase64URL(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}
