package route

import (
	"context"
	"net"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/obfuscation"
)

// Outbound dials data centres. *Router is one. Dial may be called concurrently.
// The returned Upstream is the caller's, which must close it.
type Outbound interface {
	Dial(ctx context.Context, r Request) (*Upstream, error)
}

var _ Outbound = (*Router)(nil)

// Request is what a client asked for.
type Request struct {
	// DC is the client's data centre, and Protocol the client's framing.
	DC       datacenter.DC
	Protocol frame.Protocol

	// Download is the key stream in which the client expects its download, for
	// fast mode. Nil means that the upstream draws a key stream of its own.
	Download *obfuscation.KeyStream

	// Trailer is the last two bytes of the client's init payload. They are passed
	// on to an MTProxy, so that a proxy recognises a client that it has sent
	// itself. Nil means random bytes.
	Trailer *[2]byte

	// User is the name of the client's user, and Tag that user's ad tag. Both
	// may be empty. They are for other outbounds: Router does not use them.
	User string
	Tag  []byte
}

// Upstream is a connection to a data centre: a byte stream, or packets. Exactly
// one of Stream and Packets is set.
type Upstream struct {
	// Address is the address of the data centre or, if Via is an MTProxy or a
	// WebSocket for all data centres, of that.
	Address string

	// Via is "direct", or the upstream's URL without credentials.
	Via string

	Stream  *Stream
	Packets PacketConn

	// MTProxy reports whether Via is an MTProxy, or a WEB proxy.
	MTProxy bool

	dialled *dialled // nil unless a Router made the Upstream
}

// Close closes the connection.
func (u *Upstream) Close() error {
	if u.Packets != nil {
		return u.Packets.Close()
	}
	return u.Stream.Conn.Close()
}

// Stream is an obfuscated connection to a data centre, or to an MTProxy in front
// of it, before its first byte.
type Stream struct {
	// Conn is the connection: the *net.TCPConn itself, unless the upstream is an
	// HTTPS proxy, a WebSocket or a WEB proxy, or Config.DialContext returns another
	// type. No byte that the
	// data centre would receive has been sent on it.
	Conn net.Conn

	// Init is the init payload, which precedes the upload. It is sent as it is,
	// not through Send, and best in one write with the first bytes of the upload.
	Init []byte

	// Send encrypts the upload. Its position is behind the init payload.
	Send obfuscation.Cursor

	// Receive decrypts the download. It is nil in fast mode: the download is
	// encrypted with the client's key stream, and is forwarded unchanged.
	Receive *obfuscation.Cursor

	// FakeTLS reports whether both directions, Init included, are in FakeTLS
	// records, because Via is an MTProxy with an ee secret. The handshake is
	// complete. The upload begins with a ChangeCipherSpec record and has at most
	// 2878 bytes a record; the download needs a faketls.Deframer with From set to
	// frame.Server. A faketls.NewConn on Conn with frame.Client does both.
	FakeTLS bool
}

// PacketConn is a connection to a data centre that carries packets: a middle
// proxy, or the HTTP carrier. Send and Receive may be called concurrently with
// each other, but neither with itself.
type PacketConn interface {
	// Send sends p and does not keep its payload.
	Send(ctx context.Context, p frame.Packet) error
	// Receive returns the next packet. Its payload is valid until the next call
	// of Receive.
	Receive(ctx context.Context) (frame.Packet, error)
	// Close closes the connection and unblocks Send and Receive.
	Close() error
}

// newUpstream starts the ciphers on the connection of the winning attempt.
//
// The framing is always the client's, because the proxy does not re-frame: a
// client must use padded intermediate itself to get through an MTProxy that
// accepts nothing else (ErrPaddedOnly). There is no fast mode through an MTProxy, because its
// secret changes the keys of both directions.
func (r *Router) newUpstream(winner *attempt, dc datacenter.DC, request Request) (*Upstream, error) {
	config := &obfuscation.ClientConfig{Protocol: request.Protocol, DC: dc, Rand: r.config.Rand}
	secret := winner.upstream.secret
	if winner.upstream.IsMTProxy() {
		config.Key, config.Trailer = &secret.Key, request.Trailer
	} else if !r.config.DisableFastMode {
		config.Download = request.Download
	}
	payload, init, err := obfuscation.NewInit(config)
	if err != nil {
		return nil, err
	}
	both := &struct { // in one allocation
		upstream Upstream
		stream   Stream
	}{
		Upstream{Address: winner.address, Via: winner.upstream.String(), MTProxy: winner.upstream.IsMTProxy()},
		Stream{
			Conn:    winner.conn,
			Init:    payload[:],
			Send:    init.Upload.Cursor(obfuscation.InitLength),
			FakeTLS: secret.Mode == mtproxy.FakeTLS,
		},
	}
	both.upstream.Stream = &both.stream
	if config.Download == nil {
		receive := init.Download.Cursor(0)
		both.stream.Receive = &receive
	}
	return &both.upstream, nil
}
