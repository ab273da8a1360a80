// Package proxy is an MTProxy server: it takes clients that know a secret,
// classic, dd or ee, and relays their bytes to the data centre they ask for.
// Everybody else is read from and never answered.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/obfuscation"
	"github.com/mtwire/mtwire/relay"
)

const (
	// DefaultDialTimeout bounds one attempt to reach a data centre.
	DefaultDialTimeout = 5 * time.Second
	// maxAttempts is how many addresses of a data centre are tried. A client
	// waits about as long as two attempts take, and then comes again.
	maxAttempts = 3
)

// Config is what an operator chooses. Secrets are required; the zero value of
// every other field is good.
type Config struct {
	// Secrets are those that clients may know. The mode of a secret is advice
	// to clients: any of the three is taken for every key.
	Secrets []obfuscation.Secret

	// DataCenters says where data centres are, by signed number; number 0
	// stands for all that are not named. Values are host:port. What is not
	// here is looked up in the public table.
	DataCenters map[obfuscation.DC]string

	// DialContext opens connections to data centres. Nil means a net.Dialer.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	// DialTimeout bounds each attempt. 0 means DefaultDialTimeout.
	DialTimeout time.Duration

	// Unknown is given every connection that does not know a secret, that
	// replays a handshake, or whose clock is off, with all its bytes still to
	// be read; it is closed when Unknown returns. Nil means to read on for a
	// while and answer nothing. See mtwire.ListenConfig.
	Unknown func(conn net.Conn, why error)

	// Log gets one line for each connection that was let in, at its end, and
	// at level debug one for each that was not. Nil means slog.Default.
	Log *slog.Logger
}

// Proxy serves one Config on any number of listeners.
type Proxy struct {
	config Config
	listen mtwire.ListenConfig
	replay replayMemory
}

// New returns a proxy. It fails if there is no secret: such a proxy would be
// open to all, or to nobody.
func New(config Config) (*Proxy, error) {
	if len(config.Secrets) == 0 {
		return nil, errors.New("proxy: no secret")
	}
	if config.DialContext == nil {
		config.DialContext = (&net.Dialer{}).DialContext
	}
	if config.DialTimeout == 0 {
		config.DialTimeout = DefaultDialTimeout
	}
	if config.Log == nil {
		config.Log = slog.Default()
	}
	p := &Proxy{config: config}
	p.listen = mtwire.ListenConfig{Secrets: config.Secrets, Unknown: config.Unknown, Replay: p.replay.seen}
	return p, nil
}

// Serve takes connections from ln until ctx ends. It closes ln and all
// connections, and returns when they are gone.
func (p *Proxy) Serve(ctx context.Context, ln net.Listener) error {
	return mtwire.NewListener(ln, &p.listen).Serve(ctx, p.handle)
}

func (p *Proxy) handle(ctx context.Context, client *mtwire.Conn) {
	start := time.Now()
	stream, err := client.Detach(ctx)
	if err != nil {
		p.config.Log.Debug("refused", "error", err)
		return
	}
	up, down, err := p.carry(ctx, client.Transport(), stream)
	p.config.Log.Info("closed",
		"mode", mode(client.Transport()),
		"protocol", client.Transport().Protocol.String(),
		"dc", int(client.Transport().DC),
		"up", up, "down", down,
		"duration", time.Since(start).Round(time.Millisecond),
		"cause", cause(err))
}

// mode is how a client came in, in the words of operators.
func mode(t mtwire.Transport) string {
	switch {
	case t.FakeTLS:
		return "ee"
	case t.Protocol == mtwire.PaddedIntermediate:
		return "dd"
	}
	return "classic"
}

func cause(err error) string {
	if err == nil {
		return "end of stream"
	}
	return err.Error()
}

// carry connects a client's stream to the data centre it asks for.
//
// The data centre is asked, by its init payload, to answer with the key stream
// that the client expects: what comes down goes to the client untouched, from
// socket to socket. What goes up is decrypted and encrypted.
func (p *Proxy) carry(ctx context.Context, t mtwire.Transport, client mtwire.Stream) (up, down int64, err error) {
	conn, err := p.dial(ctx, t.DC)
	if err != nil {
		return 0, 0, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	upstream, err := obfuscation.Client(conn, &obfuscation.ClientConfig{
		Protocol: t.Protocol, DC: t.DC, Download: &client.Download,
	})
	if err != nil {
		return 0, 0, err
	}
	if len(client.Read) > 0 {
		if _, err := upstream.Write(client.Read); err != nil {
			return 0, 0, err
		}
	}
	upward, downward := relay.Run(ctx,
		relay.Flow{Dst: upstream, Src: client.Conn},
		relay.Flow{Dst: client.Conn.NetConn(), Src: conn}, 0)
	return upward.Bytes + int64(len(client.Read)), downward.Bytes, errors.Join(upward.Err, downward.Err)
}

// dial connects to a data centre, trying a few of its addresses one after the
// other.
func (p *Proxy) dial(ctx context.Context, dc obfuscation.DC) (net.Conn, error) {
	addresses, err := p.addresses(dc)
	if err != nil {
		return nil, err
	}
	for _, address := range addresses[:min(len(addresses), maxAttempts)] {
		attempt, cancel := context.WithTimeout(ctx, p.config.DialTimeout)
		var conn net.Conn
		conn, err = p.config.DialContext(attempt, "tcp", address)
		cancel()
		if err == nil || ctx.Err() != nil {
			return conn, err
		}
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
