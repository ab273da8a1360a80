// Package webproxy has Telegram's WEB proxy, version 1: an app's streams, each of
// them a connection to an MTProxy, inside HTTPS requests or WebSockets to a host
// that is also a web site.
//
//	link.go        tg://webproxy links
//	capability.go  the credential in the URL of the relay's page
//	frame.go       frames and batches. No I/O
//	session.go     streams, their windows and their ids. No I/O
//	order.go       sequences and cursors of requests that may be repeated. No I/O
//
// Integers are big-endian. The app of the protocol is a Telegram client, and the
// relay is the server; both have the same session state.
package webproxy
