package datacenter

// Host returns the host name for WebSocket and HTTPS, as
// "venus.web.telegram.org". Media has the second name, "venus-1", which means
// the same and keeps downloads out of the first one's limit on requests. Host
// is "" if the data centre has no name.
func (d Location) Host() string {
	switch {
	case d.Name == "":
		return ""
	case d.DC.Media():
		return d.Name + "-1.web.telegram.org"
	default:
		return d.Name + ".web.telegram.org"
	}
}

// WebSocketURL returns where the WebSocket carrier connects, as
// "wss://venus.web.telegram.org/apiws"; in the test environment the path is
// "/apiws_test". It is "" if the data centre has no name.
//
// Specification: https://core.telegram.org/mtproto/transports#websocket
func (d Location) WebSocketURL() string { return d.url("wss", "/apiws", "/apiws_test") }

// HTTPSURL returns where the HTTPS carrier posts, as
// "https://venus.web.telegram.org/apiw1"; in the test environment the path is
// "/apiw_test1". These are the paths that clients use with host names; they
// answer with CORS headers, which does no harm outside a browser. It is "" if
// the data centre has no name.
//
// Specification: https://core.telegram.org/mtproto/transports#https
func (d Location) HTTPSURL() string { return d.url("https", "/apiw1", "/apiw_test1") }

func (d Location) url(scheme, path, testPath string) string {
	host := d.Host()
	if host == "" {
		return ""
	}
	if d.DC.Test() {
		path = testPath
	}
	return scheme + "://" + host + path
}
