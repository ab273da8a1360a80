package config

import "regexp"

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
// and password of a URL. A secret in base64 without a prefix looks like any other word, and
// stays.
func Redact(text string) string {
	return credentials.ReplaceAllString(text, "${1}${2}${3}"+placeholder+"${4}")
}
