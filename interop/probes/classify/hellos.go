package classify

import (
	utls "github.com/refraction-networking/utls"

	"github.com/mtwire/mtwire/interop/probes/site"
	"github.com/mtwire/mtwire/interop/probes/tlswire"
)

// helloKind is a kind of ClientHello that Telegram's clients or browsers send.
type helloKind struct {
	name   string
	id     utls.ClientHelloID
	change func(*utls.ClientHelloSpec)
}

var helloKinds = []helloKind{
	{name: "chrome", id: utls.HelloChrome_Auto},
	// TDLib on Apple's systems has 1302 ahead of 1301.
	{name: "1302-first", id: utls.HelloChrome_Auto, change: func(s *utls.ClientHelloSpec) {
		for i, suite := range s.CipherSuites {
			switch suite {
			case utls.TLS_AES_128_GCM_SHA256:
				s.CipherSuites[i] = utls.TLS_AES_256_GCM_SHA384
			case utls.TLS_AES_256_GCM_SHA384:
				s.CipherSuites[i] = utls.TLS_CHACHA20_POLY1305_SHA256
			case utls.TLS_CHACHA20_POLY1305_SHA256:
				s.CipherSuites[i] = utls.TLS_AES_128_GCM_SHA256
			}
		}
	}},
	{name: "http1-only", id: utls.HelloChrome_Auto, change: func(s *utls.ClientHelloSpec) {
		for _, e := range s.Extensions {
			if alpn, ok := e.(*utls.ALPNExtension); ok {
				alpn.AlpnProtocols = []string{"http/1.1"}
			}
		}
	}},
	{name: "without-alpn", id: utls.HelloChrome_Auto, change: func(s *utls.ClientHelloSpec) {
		var kept []utls.TLSExtension
		for _, e := range s.Extensions {
			switch e.(type) {
			case *utls.ALPNExtension, *utls.ApplicationSettingsExtension, *utls.ApplicationSettingsExtensionNew:
			default:
				kept = append(kept, e)
			}
		}
		s.Extensions = kept
	}},
	// Telegram's clients until 2025.
	{name: "without-ml-kem", id: utls.HelloChrome_100},
	{name: "firefox", id: utls.HelloFirefox_Auto},
	{name: "safari", id: utls.HelloSafari_Auto},
}

// hello returns a new hello of that kind, in one record.
func (k helloKind) hello() ([]byte, error) {
	conn := utls.UClient(nil, &utls.Config{ServerName: site.Domain}, utls.HelloCustom)
	spec, err := utls.UTLSIdToSpec(k.id)
	if err != nil {
		return nil, err
	}
	if k.change != nil {
		k.change(&spec)
	}
	if err := conn.ApplyPreset(&spec); err != nil {
		return nil, err
	}
	if err := conn.BuildHandshakeState(); err != nil {
		return nil, err
	}
	return tlswire.Append(nil, tlswire.TypeHandshake, 0x0301, conn.HandshakeState.Hello.Raw), nil
}
