// Package gotd has both ends of whole sessions, made of github.com/gotd/td,
// which shares no code with mtwire: its client, put to use, and its test
// server as a data centre behind an mtwire.Listener.
package gotd
