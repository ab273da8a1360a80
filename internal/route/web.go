package route

import (
	"context"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/mtwire/mtwire/internal/browser"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/webproxy"
)

// A WEB proxy is an MTProxy whose connections are streams of a session, which all clients
// of the router share.

func parseWEBLink(text string) (UpstreamURL, error) {
	link, err := webproxy.ParseLink(text)
	if err != nil {
		return UpstreamURL{}, err
	}
	text, _, _ = strings.Cut(mtproxy.TrimPasted(text), "#")
	_, query, _ := strings.Cut(text, "?")
	u := UpstreamURL{
		kind: kindWEB, secret: link.Secret, server: net.JoinHostPort(link.Host, webSocketPort), path: link.Path,
	}
	if u.weight, err = parseWeight(query, ignoreOthers); err != nil {
		return UpstreamURL{}, err
	}
	if u.proxy, err = parseVia(query); err != nil {
		return UpstreamURL{}, err
	}
	return u, nil
}

// webLink returns the link of a WEB proxy.
func (u UpstreamURL) webLink() webproxy.Link {
	host, _, _ := net.SplitHostPort(u.server)
	return webproxy.Link{Host: host, Path: u.path, Secret: u.secret}
}

// webString is String: "webproxy", the host, the path and the redacted secret.
func (u UpstreamURL) webString() string {
	link := u.webLink()
	text := "webproxy " + link.Host + strings.TrimSuffix(link.Base(), "/") + " " + u.secret.Redacted()
	if u.proxy.Server != "" {
		text += " " + paramVia + " " + u.proxy.String()
	}
	return text
}

// newStreams returns the sessions of a WEB proxy, nil for another upstream.
func (r *Router) newStreams(u UpstreamURL) *webproxy.Dialer {
	if u.kind != kindWEB {
		return nil
	}
	return &webproxy.Dialer{Link: u.webLink(), Config: &webproxy.DialConfig{
		DialTLSContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			return r.dialTLS(ctx, u.proxy, address, func() {})
		},
		Header: http.Header{"User-Agent": {browser.UserAgent}},
	}}
}

// halfCloseTime is how long a stream goes on after CloseWrite, which a WEB proxy cannot be
// told of. A client that has ended its stream expects nothing more.
const halfCloseTime = time.Second

// stream is a stream of a WEB proxy as a session's upstream.
type stream struct{ *webproxy.Conn }

// CloseWrite closes the stream a moment later.
func (s stream) CloseWrite() error {
	time.AfterFunc(halfCloseTime, func() { s.Conn.Close() })
	return nil
}

// Close ends the sessions with WEB proxies, also those that another router shares. All
// else of the router goes on, and makes new ones.
func (r *Router) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range r.upstreams {
		if u.streams != nil {
			u.streams.Close()
		}
	}
}
