//go:build !js

package mtwire

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/mtwire/mtwire/webproxy"
)

// webKey is what connections have in common that share sessions with a WEB proxy.
type webKey struct {
	config *DialConfig
	link   webproxy.Link
}

// webSessions is a Dialer with those that use it: it is kept while it has sessions.
type webSessions struct {
	webproxy.Dialer
	opening int // calls of Open
}

// webDialers has the Dialers that have sessions.
var webDialers = struct {
	sync.Mutex
	m map[webKey]*webSessions
}{m: make(map[webKey]*webSessions)}

// dialWEB opens a stream to a WEB proxy.
func dialWEB(ctx context.Context, link webproxy.Link, config *DialConfig) (net.Conn, error) {
	key := webKey{config, link}
	webDialers.Lock()
	s := webDialers.m[key]
	if s == nil {
		s = &webSessions{Dialer: webproxy.Dialer{
			Link: link, IdleTimeout: config.WEBIdleTimeout, Ended: func() { forgetWEB(key, 0) },
			Config: &webproxy.DialConfig{DialContext: config.dialContext(), TLSClientConfig: config.TLS, Header: config.Header},
		}}
		webDialers.m[key] = s
	}
	s.opening++
	webDialers.Unlock()
	conn, err := s.Open(ctx)
	forgetWEB(key, 1)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// forgetWEB drops a Dialer without sessions, after a number of Opens have returned.
func forgetWEB(key webKey, opened int) {
	webDialers.Lock()
	defer webDialers.Unlock()
	s := webDialers.m[key]
	if s == nil {
		return
	}
	if s.opening -= opened; s.opening == 0 && s.Sessions() == 0 {
		delete(webDialers.m, key)
	}
}

// retryableWEB is Retryable for the errors of a WEB proxy. ok reports whether err is one.
func retryableWEB(err error) (retry, ok bool) {
	var status *webproxy.StatusError
	switch {
	case errors.Is(err, webproxy.ErrProtocol):
		return false, true
	case errors.Is(err, webproxy.ErrSessionEnded):
		return true, true
	case errors.As(err, &status):
		return retryableStatus(status.Status), true
	}
	return false, false
}
