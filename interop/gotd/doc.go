// Package gotd has both ends of MTProto sessions, made of github.com/gotd/td,
// which shares no code with mtwire: gotd's client, and gotd's test server as a
// data centre behind an mtwire.Listener.
package gotd
