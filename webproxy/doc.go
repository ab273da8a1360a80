// Package webproxy has Telegram's WEB proxy, version 1: an app's streams, each of
// them a connection to an MTProxy, inside HTTPS requests or WebSockets to a host
// that is also a web site. The app of the protocol is a Telegram client, and the
// relay is the server. Server is a relay, as an http.Handler before a site's own.
// Client is the other side, without the app's browser.
//
//	link.go        tg://webproxy links
//	capability.go  the credential in the URL of the relay's page
//	frame.go       frames and batches. No I/O
//	session.go     streams, their windows and their ids. No I/O
//	order.go       sequences and cursors of requests that may be repeated. No I/O
//	carrier.go     the four carriers of a session's batches
//	mux.go         the streams of a session at either side, and their memory
//	outbox.go      frames that wait to be sent
//	conn.go        a stream as a net.Conn
//	server.go      Server: users, limits, Accept; serverhttp.go and serversocket.go
//	page.go        the page that apps run: page.html
//	account.go     what one user may have of a server's limits
//	redact.go      requests for the site
//	client.go      Client; clienthttp.go
//	dialer.go      sessions that streams share
//	socket.go      a WebSocket, at either side
//
// In a browser (js/wasm) the package builds as well; only the parts that do no I/O are
// tested there.
//
// Source: the official relay's PROTOCOL.md, HARDENING.md and BASE_PATH.md
package webproxy
