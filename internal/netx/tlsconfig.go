package netx

import (
	"crypto/tls"
	"slices"
)

const http2 = "h2"

// WithoutHTTP2 returns config, or a copy that does not negotiate HTTP/2 if config
// does: for code that supports HTTP/1.1 only, whatever else the configuration is
// used for. It returns nil for nil.
func WithoutHTTP2(config *tls.Config) *tls.Config {
	if config == nil || !slices.Contains(config.NextProtos, http2) {
		return config
	}
	config = config.Clone()
	config.NextProtos = slices.DeleteFunc(slices.Clone(config.NextProtos), func(p string) bool { return p == http2 })
	return config
}
