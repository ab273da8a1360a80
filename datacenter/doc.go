// Package datacenter has the numbers (DC ids) of Telegram's data centres and the
// public table of their addresses.
//
//	dc.go      the signed number that an init payload carries
//	table.go   addresses and host names by number
//	family.go  IPv4 and IPv6: which to use, and in which order
//	url.go     WebSocket and HTTPS URLs
package datacenter
