// Package browser makes connections that look like a current Chrome's to the network: a
// TLS client with its ClientHello, and the header of its WebSocket requests.
package browser

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"

	utls "github.com/refraction-networking/utls"
)

// UserAgent is that of the browser whose hello Client sends.
const UserAgent = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/133.0.0.0 Safari/537.36"

// Client makes a TLS handshake over conn as Chrome does for a WebSocket: the only ALPN
// protocol is http/1.1, and there are no application settings, which are HTTP/2's. The
// server's certificate must be one for serverName. Of config, which may be nil, the roots
// and the clock are used; nil roots are the system's.
//
// The connection that it returns owns conn. On error conn stays open.
func Client(ctx context.Context, conn net.Conn, serverName string, config *tls.Config) (net.Conn, error) {
	spec, err := helloSpec()
	if err != nil {
		return nil, err
	}
	own := &utls.Config{
		ServerName: serverName,
		// Chrome's records are full ones, from the first byte.
		DynamicRecordSizingDisabled: true,
	}
	if config != nil {
		own.RootCAs, own.Time = config.RootCAs, config.Time
	}
	client := utls.UClient(conn, own, utls.HelloCustom)
	if err := client.ApplyPreset(spec); err != nil {
		return nil, fmt.Errorf("fingerprint of a ClientHello: %w", err)
	}
	if err := client.HandshakeContext(ctx); err != nil {
		if refusesHTTP1(err) {
			err = fmt.Errorf("the server has HTTP/2 only, and not HTTP/1.1, which a WebSocket needs: %w", err)
		}
		return nil, err
	}
	return client, nil
}

// refusesHTTP1 reports whether err is the alert of a server that has none of the ALPN
// protocols.
func refusesHTTP1(err error) bool {
	var alert *net.OpError
	return errors.As(err, &alert) && alert.Op == "remote error" && alert.Err.Error() == "tls: no application protocol"
}

// helloSpec returns the fingerprint, which is uTLS's and is updated with the browser.
func helloSpec() (*utls.ClientHelloSpec, error) {
	spec, err := utls.UTLSIdToSpec(utls.HelloChrome_Auto)
	if err != nil {
		return nil, fmt.Errorf("fingerprint of a ClientHello: %w", err)
	}
	spec.Extensions = slices.DeleteFunc(spec.Extensions, func(extension utls.TLSExtension) bool {
		switch e := extension.(type) {
		case *utls.ALPNExtension:
			e.AlpnProtocols = []string{"http/1.1"}
		case *utls.ApplicationSettingsExtension, *utls.ApplicationSettingsExtensionNew:
			return true
		}
		return false
	})
	return &spec, nil
}
