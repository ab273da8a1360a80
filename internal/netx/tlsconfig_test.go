package netx

import (
	"crypto/tls"
	"slices"
	"testing"
)

func TestHTTP2IsRemovedFromACopy(t *testing.T) {
	config := &tls.Config{ServerName: "example.com", NextProtos: []string{"h2", "http/1.1", "h2", "other"}}
	got := WithoutHTTP2(config)
	if want := []string{"http/1.1", "other"}; !slices.Equal(got.NextProtos, want) || got.ServerName != "example.com" {
		t.Errorf("%q for %q", got.NextProtos, got.ServerName)
	}
	if !slices.Equal(config.NextProtos, []string{"h2", "http/1.1", "h2", "other"}) {
		t.Errorf("the caller's are %q", config.NextProtos)
	}
}

func TestConfigWithoutHTTP2IsNotCopied(t *testing.T) {
	for _, config := range []*tls.Config{nil, {}, {NextProtos: []string{"http/1.1"}}} {
		if got := WithoutHTTP2(config); got != config {
			t.Errorf("%p became %p", config, got)
		}
	}
}
