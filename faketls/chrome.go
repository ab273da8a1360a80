package faketls

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	utls "github.com/refraction-networking/utls"
)

// maxDomain is the length of the longest DNS name in bytes.
const maxDomain = 253

var errNoDomain = errors.New("faketls: ClientConfig.Domain is empty")

// chromeHello returns a ClientHello with the fingerprint of a recent Chrome, in one
// record. The fingerprint is uTLS's, which is updated with the browser.
func chromeHello(domain string, random io.Reader) ([]byte, error) {
	spec, err := utls.UTLSIdToSpec(utls.HelloChrome_Auto)
	if err != nil {
		return nil, fmt.Errorf("faketls: fingerprint of a ClientHello: %w", err)
	}
	// uTLS omits names that a browser does not send, such as an address. A proxy
	// expects the domain of its secret, whatever it is.
	for i, extension := range spec.Extensions {
		if _, ok := extension.(*utls.SNIExtension); ok {
			spec.Extensions[i] = &utls.GenericExtension{Id: extensionServerName, Data: appendServerName(nil, domain)}
		}
	}
	// The nil connection is not used: BuildHandshakeState only builds the message.
	conn := utls.UClient(nil, &utls.Config{ServerName: domain, Rand: random}, utls.HelloCustom)
	if err := conn.ApplyPreset(&spec); err != nil {
		return nil, fmt.Errorf("faketls: fingerprint of a ClientHello: %w", err)
	}
	if err := conn.BuildHandshakeState(); err != nil {
		return nil, fmt.Errorf("faketls: build a ClientHello: %w", err)
	}
	message := conn.HandshakeState.Hello.Raw
	record := append(make([]byte, 0, RecordHeaderLength+len(message)), byte(RecordHandshake), 3, 1)
	record = binary.BigEndian.AppendUint16(record, uint16(len(message)))
	return append(record, message...), nil
}

func appendServerName(dst []byte, name string) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(3+len(name)))
	dst = append(dst, 0) // host_name
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(name)))
	return append(dst, name...)
}
