package proxy

import (
	"context"
	"crypto/cipher"
	"fmt"
	"net"
	"net/netip"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/obfuscation"
)

const maxAttempts = 3

// leg is the way to a data centre.
type leg struct {
	Conn    net.Conn
	Address string
	Via     string
	Init    []byte
	Send    cipher.Stream
}

func (p *Proxy) dial(ctx context.Context, dc obfuscation.DC, protocol mtwire.Protocol, download *obfuscation.KeyStream) (*leg, error) {
	addresses, err := p.addresses(dc)
	if err != nil {
		return nil, err
	}
	for _, address := range addresses[:min(len(addresses), maxAttempts)] {
		attempt, cancel := context.WithTimeout(ctx, p.config.DialTimeout)
		var conn net.Conn
		conn, err = p.config.DialContext(attempt, "tcp", address)
		cancel()
		if err != nil && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return nil, err
		}
		init, streams, err := obfuscation.NewInit(&obfuscation.ClientConfig{Protocol: protocol, DC: dc, Download: download})
		if err != nil {
			conn.Close()
			return nil, err
		}
		return &leg{Conn: conn, Address: address, Via: "direct", Init: init[:], Send: streams.Send}, nil
	}
	return nil, fmt.Errorf("%s: %w", dc.Describe(), err)
}

// addresses lists where a data centre may be reached, the best first: the place
// that was configured for its number, or for all numbers; for a media number
// the main one's; what the table has.
func (p *Proxy) addresses(dc obfuscation.DC) ([]string, error) {
	numbers := []obfuscation.DC{dc, 0}
	if dc < 0 {
		numbers = append(numbers, -dc)
	}
	for _, number := range numbers {
		if address, ok := p.config.DataCenters[number]; ok {
			return []string{address}, nil
		}
	}
	known, ok := mtwire.LookupDC(dc)
	if !ok {
		return nil, fmt.Errorf("no data centre has number %d", dc)
	}
	var list []string
	for i := range max(len(known.IPv4), len(known.IPv6)) {
		for _, family := range [][]netip.AddrPort{known.IPv4, known.IPv6} {
			if i < len(family) {
				list = append(list, family[i].String())
			}
		}
	}
	return list, nil
}
