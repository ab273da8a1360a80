package faketls

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"
)

// DefaultWindow is how far a client's clock may be off if
// ServerConfig.Window does not say.
const DefaultWindow = 120 * time.Second

// ServerConfig says which clients a server accepts. A nil *ServerConfig has no
// keys and accepts none. It may serve many connections at once if its
// functions can.
type ServerConfig struct {
	// Keys are the 16-byte keys of the secrets, tried in order.
	Keys [][16]byte

	// Window is how far the client's clock may be from the server's, either
	// way. 0 means DefaultWindow, anything negative accepts every clock.
	//
	// A window turns away clients that cannot have the right time, and dumb
	// replays. It does not keep recorded hellos out, since whoever has one
	// can give it another time; see ClientHello.Match.
	Window time.Duration

	// CheckSNI says whether a client that used Keys[keyIndex] may ask for
	// host sni, which is "" if it named none and otherwise arbitrary bytes.
	// Default: every name is good.
	CheckSNI func(keyIndex int, sni string) bool

	// Replay remembers digest, the first 16 bytes of the hello's random, and
	// says whether it already knew it. It is called last, once everything
	// else about the hello was found good, and before anything is sent:
	// strangers cannot fill the memory. MTProxy remembers for two days.
	// Default: nothing is remembered.
	Replay func(digest [16]byte) bool

	// Flight returns what the server's flight is to look like, for each
	// connection anew. Default: the zero Flight.
	Flight func() Flight

	// Time is the server's clock. Default: time.Now.
	Time func() time.Time

	// Rand is where random bytes come from. Default: crypto/rand.
	Rand io.Reader
}

// Info is what a server knows of the client from its hello.
type Info struct {
	// KeyIndex is the place in ServerConfig.Keys of the key in use, -1 if
	// none matched.
	KeyIndex int
	// SNI is the host that the client asked for, as sent and unchecked, "" if
	// it named none.
	SNI string
	// ClientTime is the client's clock, zero if no key matched.
	ClientTime time.Time
}

// Check decides whether hello is to be answered: its digest, clock and server
// name, and then Replay, which remembers it. The error is ErrNoMatch,
// ErrStaleClock, ErrWrongSNI or ErrReplay, perhaps with detail around it; Info
// is what was found out up to there.
func (cfg *ServerConfig) Check(hello *ClientHello) (Info, error) {
	if cfg == nil {
		return Info{KeyIndex: -1, SNI: hello.SNI}, ErrNoMatch
	}
	keyIndex, clientTime := hello.MatchAny(cfg.Keys)
	return cfg.CheckKey(hello, keyIndex, clientTime)
}

// CheckKey is Check for a caller who knows the key already: what is left are
// the clock, the server name and Replay. keyIndex and clientTime are as from
// MatchAny, so that -1 is ErrNoMatch. Keys is not looked at: the index is
// handed on to CheckSNI and returned in Info, and may count in the caller's way.
func (cfg *ServerConfig) CheckKey(hello *ClientHello, keyIndex int, clientTime time.Time) (Info, error) {
	info := Info{KeyIndex: keyIndex, SNI: hello.SNI, ClientTime: clientTime}
	if keyIndex < 0 {
		return info, ErrNoMatch
	}
	window := cfg.Window
	if window == 0 {
		window = DefaultWindow
	}
	if ahead := info.ClientTime.Sub(now(cfg.Time)); window > 0 && ahead.Abs() > window {
		return info, fmt.Errorf("%w of %v: client is ahead by %v", ErrStaleClock, window, ahead.Truncate(time.Second))
	}
	if cfg.CheckSNI != nil && !cfg.CheckSNI(info.KeyIndex, info.SNI) {
		return info, fmt.Errorf("%w: %q", ErrWrongSNI, info.SNI)
	}
	if cfg.Replay != nil && cfg.Replay([16]byte(hello.Random[:16])) {
		return info, ErrReplay
	}
	return info, nil
}

// Server returns the server's end of a connection over conn. The handshake
// happens in Conn.Handshake, or in the first Read or Write. cfg must not
// change before that is over.
func Server(conn net.Conn, cfg *ServerConfig) *Conn {
	c := newConn(conn, RoleServer)
	c.shake = func(ctx context.Context) (err error) {
		c.info, err = serverHandshake(ctx, conn, cfg)
		return err
	}
	return c
}

func serverHandshake(ctx context.Context, conn net.Conn, cfg *ServerConfig) (info Info, err error) {
	err = interruptible(ctx, conn, func() error {
		var hello ClientHello
		received, err := readHello(conn, func(b []byte) (n int, err error) {
			hello, n, err = ParseClientHello(b)
			return n, err
		})
		info = Info{KeyIndex: -1}
		if err == nil {
			info, err = cfg.Check(&hello)
		}
		if err != nil {
			return &RejectError{Err: err, Received: received, Info: info}
		}
		var look Flight
		if cfg.Flight != nil {
			look = cfg.Flight()
		}
		flight, err := AppendServerHello(nil, &hello, cfg.Keys[info.KeyIndex], look, cfg.Rand)
		if err != nil {
			return err
		}
		if _, err := conn.Write(flight); err != nil {
			return fmt.Errorf("faketls: send ServerHello: %w", err)
		}
		return nil
	})
	return info, err
}
