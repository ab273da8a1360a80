package handshake

import (
	"context"
	"errors"
	"time"

	"github.com/mtwire/mtwire/detect"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/mtproxy"
)

// The reasons for which a client is unauthenticated.
var (
	// ErrUnknown means that the client's first bytes are no transport that the server
	// accepts.
	ErrUnknown = errors.New("unknown transport")

	// ErrNoMatch means that no secret matches what the client sent.
	ErrNoMatch = errors.New("no secret matches")

	// ErrNotSearched means that the client's key was not searched for among all
	// secrets, to limit the cost of unauthenticated clients.
	ErrNotSearched = errors.New("not searched among all secrets: the limit for failed searches is reached")

	// ErrWrongServerName means that a FakeTLS hello with the key of a secret names
	// another host than the secret.
	ErrWrongServerName = errors.New("the hello's server name is not the secret's")

	// ErrReplay means that Auth.Replayed returned true.
	ErrReplay = errors.New("replay of an earlier handshake")

	// ErrShortRecord means that a FakeTLS client's first record is too short for
	// an init payload.
	ErrShortRecord = errors.New("the first record has no init payload")

	// ErrTimeout means that a client sent only a part of its handshake in time.
	ErrTimeout = errors.New("timeout before the end of the client's handshake")
)

// Query describes a client to Auth.Find.
type Query struct {
	// FakeTLS means that the client sent a FakeTLS hello. ServerName is the host in
	// it, or "" if there is none. Without FakeTLS it sent an init payload.
	FakeTLS    bool
	ServerName string

	// Length is the length of the hello or init payload in bytes. The time to try a
	// key on a hello is in proportion to it.
	Length int

	// First is all that the client has sent, if nothing was answered yet. It is
	// valid until Find returns.
	First []byte
}

// Auth authenticates and authorises one client. Its methods are called one after
// the other, by the goroutine that runs the handshake.
type Auth interface {
	// Find searches for the client's key and returns the index of its secret, which
	// has a meaning for Auth and its caller only. Find calls try any number of
	// times. try returns the index in the set of the first key that matches, or -1.
	// The error is ErrNoMatch, ErrNotSearched or ErrWrongServerName, or that of ctx,
	// which is Handshake.Run's.
	Find(ctx context.Context, q Query, try func(*mtproxy.KeySet) int) (key int, err error)

	// Allow is called once for each client whose transport is complete: after an init
	// payload, the header of a plain framing, or the first bytes of an HTTP request.
	// An error rejects the client. key is from Find, or -1 for a client without a
	// secret.
	Allow(t detect.Transport, key int) error

	// Replayed stores id, which identifies a hello or an init payload, and reports
	// whether it was stored before. It is called if try has found the client's key, also
	// if Find has returned an error then, or the client is rejected for another reason:
	// otherwise a recording of it could be sent later. It is not called for others, so
	// that they cannot fill its memory.
	Replayed(id [16]byte) bool

	// ServerHello returns the shape of the answer to a FakeTLS hello. It is called
	// after Find, for a hello that is accepted and about to be answered. patience is
	// the time until the client's init payload must be complete; after it the
	// connection ends as a TLS server's does. 0 means that the client may be silent
	// for any time and that the end imitates no server. An error rejects the client,
	// to which nothing was sent.
	ServerHello(hello *faketls.ClientHello) (shape faketls.ServerHelloShape, patience time.Duration, err error)

	// Undecided is called with all that the client has sent, when the decision
	// needs more bytes and nothing was answered yet. first is valid until it
	// returns.
	Undecided(first []byte)
}
