package web

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// The addresses of clients behind a web server in front.

// addrKey is the key of a client's address, a netip.Addr, in the context of a request from
// a peer that is trusted to tell it.
type addrKey struct{}

// servePlain serves a request without TLS.
func (s *Server) servePlain(w http.ResponseWriter, r *http.Request) {
	outer, _ := r.Context().Value(connKey{}).(net.Conn)
	if outer != nil && s.current.Load().ForwardedFrom.Contains(outer.RemoteAddr()) {
		if addr, ok := forwardedFor(r); ok {
			r = r.WithContext(context.WithValue(r.Context(), addrKey{}, addr))
		}
	}
	(*siteHandler)(s).ServeHTTP(w, r)
}

// forwardedFor returns the last address of X-Forwarded-For: the one that the peer has
// added. The client may have sent those before it.
func forwardedFor(r *http.Request) (netip.Addr, bool) {
	values := r.Header["X-Forwarded-For"]
	if len(values) == 0 {
		return netip.Addr{}, false
	}
	last := values[len(values)-1]
	if i := strings.LastIndexByte(last, ','); i >= 0 {
		last = last[i+1:]
	}
	addr, err := netip.ParseAddr(strings.TrimSpace(last))
	return addr.Unmap().WithZone(""), err == nil
}

// clientAddr returns the address of a request's client, the zero Addr if it is not known.
func clientAddr(r *http.Request) netip.Addr {
	if addr, ok := r.Context().Value(addrKey{}).(netip.Addr); ok {
		return addr
	}
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	return peer.Addr().Unmap()
}
