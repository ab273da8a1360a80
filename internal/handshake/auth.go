package handshake

import (
	"errors"
	"time"

	"github.com/mtwire/mtwire/detect"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/mtproxy"
)

// Why a client is not authenticated.
var (
	// ErrNoMatch means that no secret fits what the client sent.
	ErrNoMatch = errors.New("no secret matches")

	// ErrNotSearched means that the client's secret was not searched for among
	// all secrets, to limit the cost of unauthenticated clients.
	ErrNotSearched = errors.New("not searched among all secrets: the limit for failed searches is reached")

	// ErrWrongServerName means that a FakeTLS hello with the right key names
	// another host than its secret.
	ErrWrongServerName = errors.New("the hello's server name is not the secret's")

	// ErrReplay means that a hello or an init payload was seen before.
	ErrReplay = errors.New("the handshake was seen before")

	// ErrShortRecord means that a FakeTLS client's first record is too short for
	// an init payload.
	ErrShortRecord = errors.New("the first record has no init payload")

	// ErrTimeout means that a client sent a part of its handshake and not the
	// rest in time.
	ErrTimeout = errors.New("the client's first bytes took too long")
)

// Query is what is known of a client whose secret is searched for.
type Query struct {
	// FakeTLS means that the client sent a FakeTLS hello, and ServerName is the
	// host in it, "" if it has none. Otherwise it sent an init payload.
	FakeTLS    bool
	ServerName string

	// Length is the length of the hello or init payload in bytes. Trying a
	// secret on a hello takes time in proportion to it.
	Length int

	// First is all that the client has sent, if nothing was answered yet. It is
	// good until Find returns.
	First []byte
}

// Auth decides about one client. Its methods are called one after the other, by
// the goroutine that runs the handshake.
type Auth interface {
	// Find searches for the client's secret and returns its index, which is the
	// caller's own. It calls try any number of times; try returns the index in
	// the set of the first key that fits, or -1. The error is ErrNoMatch,
	// ErrNotSearched or ErrWrongServerName.
	Find(q Query, try func(*mtproxy.KeySet) int) (key int, err error)

	// Allow is called once, with the transport complete, for clients that sent
	// an init payload. An error rejects the client. key is -1 for a client
	// without a secret.
	Allow(t detect.Transport, key int) error

	// Replayed remembers id, which stands for one hello or init payload, and
	// reports whether it was remembered already. It is called for authenticated
	// clients only, so others cannot fill the memory.
	Replayed(id [16]byte) bool

	// ServerHello returns the shape of the answer to a FakeTLS hello. patience is
	// how long the client may then take until its init payload is complete,
	// before the connection ends as a TLS server's does; 0 means that it may be
	// silent for any time, and that the end is not imitated.
	ServerHello(hello *faketls.ClientHello) (shape faketls.ServerHelloShape, patience time.Duration)

	// Undecided is called with all that the client has sent, when more of it must
	// come for a decision and nothing was answered yet. first is good until it
	// returns.
	Undecided(first []byte)
}
