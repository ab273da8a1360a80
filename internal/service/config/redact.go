package config

import (
	"encoding/base64"
	"regexp"
	"strings"
)

// A value in the wrong place, such as a link in --listen or a secret in place of the file
// that has it, is quoted by the error about it. What an operator reads, and sends to
// others, must not have the credentials in it.

// credentials finds what may be a credential in a text: each pattern has in its first group
// what may stay in front of one.
var credentials = regexp.MustCompile(`(?i)` +
	`((?:\btg:(?://)?|\bt(?:elegram)?\.(?:me|dog)/)(?:web)?proxy/?\?)[^\s".…][^\s"]*` + // a link, mistyped perhaps
	`|([?&]secret=)[^\s"&]+` + // an endpoint
	`|(://)[^\s"]+(@)` + // user and password of a URL
	`|\b(?:(?:dd|ee)[0-9a-f]{30,}|[0-9a-f]{32,36}\b)[0-9a-z]*` + // a secret in hex; not a SHA-256 or SHA-1
	`|(?-i:\b(?:3[Q-Za-f]|7[g-v])[0-9A-Za-z_+/-]{20,}=*)`) // one in base64, of a dd or ee byte

// Redact returns text without what looks like a secret, a link that has one, or the user
// and password of a URL.
func Redact(text string) string {
	text = credentials.ReplaceAllString(text, "${1}${2}${3}"+placeholder+"${4}")
	return words.ReplaceAllStringFunc(text, redactWord)
}

// words finds what may be base64, with a path in front.
var words = regexp.MustCompile(`[0-9A-Za-z_+/-]{22,}=*`)

// redactWord returns the placeholder for a secret in base64 that begins with its key, or with the
// mark of a WEB proxy's secret. A secret may be behind a directory: a relative path is completed.
func redactWord(word string) string {
	digits := strings.TrimRight(word, "=")
	for _, length := range []int{22, 23, 24} { // of 16 bytes, and of 17 and 18 with a mark
		start := len(digits) - length
		if start < 0 || start > 0 && digits[start-1] != '/' {
			continue
		}
		if isKey(digits[start:]) {
			return digits[:start] + placeholder
		}
	}
	return word
}

// isKey reports whether digits are base64 of a key, or of a marked secret. Words of a language, and
// host names, have no letters of both cases.
func isKey(digits string) bool {
	encoding := base64.RawURLEncoding
	if strings.ContainsAny(digits, "+/") {
		encoding = base64.RawStdEncoding
	}
	b, err := encoding.Strict().DecodeString(digits)
	const upper, lower = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"
	if err != nil || !strings.ContainsAny(digits, upper) || !strings.ContainsAny(digits, lower) {
		return false
	}
	return len(b) == keyLength || len(b) > keyLength && b[0] == markedByte && (len(b) == keyLength+1 || b[1] == paddedByte)
}

const (
	keyLength  = 16
	markedByte = 0x70 // in front of a secret in a link with a path
	paddedByte = 0xdd
)
