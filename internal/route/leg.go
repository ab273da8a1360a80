package route

import (
	"net"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/obfuscation"
)

// Leg is the way from here to a data centre, ready to carry bytes. It belongs
// to the caller.
type Leg struct {
	// Conn is the connection: the *net.TCPConn itself, unless there is a proxy
	// in between that is spoken to in TLS, or Config.DialContext returns
	// something else. Nothing has been sent on it yet that the data centre
	// would see.
	Conn net.Conn

	// Address is the data centre's, or if Via is an MTProxy, that proxy's.
	Address string

	// Via is "direct", or the upstream without its credentials.
	Via string

	// Init is the init payload. It goes ahead of all that is sent up, best in
	// one piece with the first of it, and not through Send.
	Init []byte

	// Send encrypts what goes up. It stands behind the init payload.
	Send obfuscation.Cursor

	// Receive decrypts what comes down. It is nil if that is encrypted with
	// the client's download key stream already, and can be passed on as it is.
	Receive *obfuscation.Cursor

	// FakeTLS says that Via is an MTProxy with an ee secret: both directions,
	// Init included, are in records, and the hellos have been exchanged.
	// What goes up begins with a ChangeCipherSpec record and has at most 2878
	// bytes in a record, what comes down goes through a faketls.Deframer with
	// From set to frame.Server. A faketls.NewConn on Conn, in the role
	// of the client, does both.
	FakeTLS bool
}

// leg starts the ciphers on the connection of a race's winner.
//
// With a secret in use the keys of both directions depend on it, so the
// client's download key stream cannot be asked for. The framing is the
// client's in any case, since nobody re-frames what passes through: a next
// proxy that only takes padded intermediate, as some do behind a dd or ee
// secret, only serves clients that use it.
func (r *Router) leg(winner *attempt, dc datacenter.DC, protocol frame.Protocol, download *obfuscation.KeyStream) (*Leg, error) {
	config := &obfuscation.ClientConfig{Protocol: protocol, DC: dc, Rand: r.config.Rand}
	secret := winner.way.secret
	if winner.way.kind == kindMTProxy {
		config.Key = &secret.Key
	} else if !r.config.UnrelatedKeys {
		config.Download = download
	}
	payload, init, err := obfuscation.NewInit(config)
	if err != nil {
		return nil, err
	}
	leg := &Leg{
		Conn:    winner.conn,
		Address: winner.address,
		Via:     winner.way.String(),
		Init:    payload[:],
		Send:    init.Upload.Cursor(obfuscation.InitLength),
		FakeTLS: secret.Mode == mtproxy.FakeTLS,
	}
	if config.Download == nil {
		receive := init.Download.Cursor(0)
		leg.Receive = &receive
	}
	return leg, nil
}
