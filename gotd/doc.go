// Package gotd connects github.com/gotd/td, Telegram's MTProto in Go, by mtwire's
// transports: a client's connections to whatever mtwire can dial, and a server's from
// whatever it accepts.
//
// A client passes a Resolver in its options:
//
//	resolver, err := gotd.NewResolver("tg://proxy?server=proxy.example.com&port=443&secret=ee...", nil)
//	...
//	client := telegram.NewClient(appID, appHash, telegram.Options{Resolver: resolver})
//
// A server gets a transport.Listener:
//
//	ln, err := mtwire.Listen("tcp", ":443", nil)
//	...
//	err = server.Serve(ctx, gotd.Listener(ln))
//
// It is a module of its own, so that mtwire's users do not depend on gotd.
package gotd
