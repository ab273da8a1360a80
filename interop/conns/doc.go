// Package conns tests mtwire over connections that are not package net's: channels of
// golang.org/x/crypto/ssh, streams of hashicorp/yamux and xtaci/smux, and net.Pipe. It
// has tests only.
package conns
