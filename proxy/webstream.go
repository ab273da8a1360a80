package proxy

import (
	"context"
	"net"

	"github.com/mtwire/mtwire/internal/handshake"
	"github.com/mtwire/mtwire/mtproxy"
)

// WebStream is a connection that a listener may bring: a stream of a WEB relay, whose
// client has shown the capability of a user. *webproxy.Conn is one. Its session has mode
// mtproxy.Web. No other secret than the user's is tried on its init payload, no PROXY
// protocol header is read from it, and it ends without an answer if it is not
// authenticated.
type WebStream interface {
	net.Conn
	// User is the name of the capability's user.
	User() string
	// Secret is what the capability is of: a key of the user's, in the mode Plain, or in
	// the mode Padded, with which only the padded framing is allowed.
	Secret() mtproxy.Secret
}

// webStream returns the session's connection if it is a stream of a relay, or nil.
func (s *session) webStream() WebStream {
	stream, _ := s.socket.(WebStream)
	return stream
}

// webHandshake is the configuration of the handshakes in streams.
var webHandshake = handshake.Config{Secrets: true}

// findWeb is Find for a stream.
func (a *authentication) findWeb(ctx context.Context, stream WebStream, try func(*mtproxy.KeySet) int) (int, error) {
	if err := a.permit(); err != nil {
		return -1, err
	}
	a.secrets = webSecrets(a.users.users[stream.User()], stream.Secret().Key)
	if a.secrets == nil || try(mtproxy.NewKeySet(stream.Secret())) < 0 {
		return -1, handshake.ErrNoMatch
	}
	a.found, a.refused = 0, nil
	if a.proxy.config.Policy != nil && !a.admit(ctx, 0) {
		return -1, &refusal{a.refused}
	}
	return 0, nil
}

// webSecrets returns the secret of a user with a key, or nil if there is none.
func webSecrets(user *User, key [16]byte) []userSecret {
	if user == nil {
		return nil
	}
	for k, secret := range user.Secrets {
		if secret.Key == key {
			return []userSecret{{user, int32(k), mtproxy.Web}}
		}
	}
	return nil
}
