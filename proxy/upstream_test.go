package proxy

import (
	"strings"
	"testing"
)

// upstreams parses upstreams.
func upstreams(t *testing.T, texts ...string) (all []Upstream) {
	t.Helper()
	for _, text := range texts {
		u, err := ParseUpstream(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, u)
	}
	return all
}

// UnmarshalText, for configuration files, parses as ParseUpstream does.
func TestUpstreamIsParsedAndShownWithoutCredentials(t *testing.T) {
	const text = "socks5://me:hunter2@127.0.0.1:1080?weight=2"
	u, err := ParseUpstream(text)
	if err != nil || u.String() != "socks5://127.0.0.1:1080" {
		t.Errorf("%v, %v", u, err)
	}
	var v Upstream
	if err := v.UnmarshalText([]byte(text)); err != nil || v != u {
		t.Errorf("%v, %v", v, err)
	}
	if (Upstream{}).String() != "direct" {
		t.Errorf("the zero value is %v", Upstream{})
	}
}

func TestBadUpstreamIsRefusedWithoutQuotingIt(t *testing.T) {
	for _, text := range []string{"", "ftp://x:1", "socks5://me:hunter2@host"} {
		u, err := ParseUpstream(text)
		if err == nil || strings.Contains(err.Error(), "hunter2") || u != (Upstream{}) {
			t.Errorf("%q: %v, %v", text, u, err)
		}
		if v := upstreams(t, "http://x:1")[0]; v.UnmarshalText([]byte(text)) == nil || v.String() != "http://x:1" {
			t.Errorf("%q changes an upstream to %v", text, v)
		}
	}
}
