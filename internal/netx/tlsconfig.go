package netx

import (
	"crypto/tls"
	"slices"
)

const http2 = "h2"

// WithoutHTTP2 returns config, or, if config may negotiate HTTP/2, a copy that does
// not, not even with the configs that its GetConfigForClient returns. It is for code
// that implements HTTP/1.1 only and whose configuration may be shared. It returns nil
// for nil.
func WithoutHTTP2(config *tls.Config) *tls.Config {
	if config == nil || config.GetConfigForClient == nil && !slices.Contains(config.NextProtos, http2) {
		return config
	}
	config = config.Clone()
	if get := config.GetConfigForClient; get != nil {
		config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			config, err := get(hello)
			return WithoutHTTP2(config), err
		}
	}
	config.NextProtos = slices.DeleteFunc(slices.Clone(config.NextProtos), func(p string) bool { return p == http2 })
	return config
}
