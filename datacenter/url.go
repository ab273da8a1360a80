package datacenter

// Host returns the host name for WebSocket and HTTPS, as
// "venus.web.telegram.org". Media has the second name, "venus-1", which means
// the same and keeps downloads out of the first one's limit on requests. Host
// is "" if the data centre has no name.
func (l Location) Host() string {
	switch {
	case l.Name == "":
		return ""
	case l.DC.Media():
		return l.Name + "-1.web.telegram.org"
	default:
		return l.Name + ".web.telegram.org"
	}
}

// WebSocketURL returns where the WebSocket carrier connects, as
// "wss://venus.web.telegram.org/apiws"; in the test environment the path is
// "/apiws_test". It is "" if the data centre has no name.
//
// Specification: https://core.telegram.org/mtproto/transports#websocket
func (l Location) WebSocketURL() string { return l.url("wss", "/apiws", "/apiws_test") }

// HTTPSURL returns where the HTTPS carrier posts, as
// "https://venus.web.telegram.org/apiw1"; in the test environment the path is
// "/apiw_test1". These are the paths that clients use with host names; they
// answer with CORS headers, which does no harm outside a browser. It is "" if
// the data centre has no name.
//
// Specification: https://core.telegram.org/mtproto/transports#https
func (l Location) HTTPSURL() string { return l.url("https", "/apiw1", "/apiw_test1") }

func (l Location) url(scheme, path, testPath string) string {
	host := l.Host()
	if host == "" {
		return ""
	}
	if l.DC.Test() {
		path = testPath
	}
	return scheme + "://" + host + path
}
