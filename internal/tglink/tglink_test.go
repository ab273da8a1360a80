package tglink

import (
	"maps"
	"strings"
	"testing"
)

// Every spelling of a link has the same name and query.
func TestEverySpellingHasTheSameParts(t *testing.T) {
	for _, text := range []string{
		"tg://proxy?a=b", "TG:Proxy?a=b", "https://t.me/proxy?a=b", "http://Telegram.Me/proxy/?a=b#c", "telegram.dog/PROXY?a=b", "T.me/proxy?a=b#?x",
	} {
		if name, query, err := Split(text); name != "proxy" || query != "a=b" || err != nil {
			t.Errorf("%s: %q, %q, %v", text, name, query, err)
		}
	}
}

// What is no link of Telegram's is refused, and not quoted.
func TestOtherTextsAreRefused(t *testing.T) {
	for text, reason := range map[string]string{
		"": "no scheme", "secret": "no scheme", "secret.example/proxy": "no scheme", "ftp://t.me/secret": "scheme is not", "secret://proxy": "scheme is not",
		"https:t.me/secret": "no //", "https://secret/proxy": "host is not", "https://t.me.secret/proxy": "host is not",
	} {
		if _, _, err := Split(text); err == nil || !strings.Contains(err.Error(), reason) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// The first value of each known name counts, and is unescaped.
func TestFieldsAreTheFirstValues(t *testing.T) {
	fields, err := Fields("b=%41+;&a=1&a=2&c=%zz&d&=x", "a", "b", "d")
	if want := (map[string]string{"a": "1", "b": "A ;", "d": ""}); err != nil || !maps.Equal(fields, want) {
		t.Errorf("%q, %v", fields, err)
	}
	if _, err := Fields("a=secret%zz", "a"); err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "a has a %") {
		t.Error(err)
	}
}
