package datacenter

// Host returns the host name for WebSocket and HTTPS, such as
// "venus.web.telegram.org". For media it returns the second name of the same
// host, such as "venus-1.web.telegram.org", which gives downloads a per-host limit
// of requests of their own. It returns "" if the data centre has no name.
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

// WebSocketURL returns the URL for the WebSocket carrier, such as
// "wss://venus.web.telegram.org/apiws". In the test environment the path is
// "/apiws_test". It returns "" if the data centre has no name.
//
// Specification: https://core.telegram.org/mtproto/transports#websocket
func (l Location) WebSocketURL() string { return l.url("wss", "/apiws", "/apiws_test") }

// HTTPSURL returns the URL for the HTTPS carrier, such as
// "https://venus.web.telegram.org/apiw1". In the test environment the path is
// "/apiw_test1". Clients use these paths with host names; the answers have CORS
// headers, which only browsers evaluate. It returns "" if the data centre has no
// name.
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
