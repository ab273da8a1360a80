package webproxy_test

import (
	"fmt"

	"github.com/mtwire/mtwire/webproxy"
)

func ExampleParseLink() {
	link, err := webproxy.ParseLink("tg://webproxy?server=proxy.example.com%2Fdobry-cola-super-app" +
		"&secret=cAABAgMEBQYHCAkKCwwNDg8")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(link.Host, link.Path, link.Secret.Mode)
	fmt.Println(link.Redacted()) // for logs: String includes the secret
	fmt.Println("https://" + link.Host + link.Base() + "?bridge=" + link.Capability().String())
	// Output:
	// proxy.example.com dobry-cola-super-app plain
	// https://proxy.example.com/dobry-cola-super-app/ plain:[redacted]
	// https://proxy.example.com/dobry-cola-super-app/?bridge=hHz99Xs93EN1j91G9gpNepXwGNNt5YdAFkEVk_LlqdQ
}

// An app opens a stream and sends a byte; the relay receives both.
func ExampleSession() {
	app, relay := webproxy.NewSession(webproxy.App), webproxy.NewSession(webproxy.Relay)
	relay.Receive(nil, webproxy.SharedLane, webproxy.AppendHello(nil))
	app.Receive(nil, webproxy.SharedLane, webproxy.AppendWelcome(nil))

	batch, stream, _ := app.AppendOpen(nil, 0)
	batch, _ = stream.AppendData(batch, []byte{0xef}, webproxy.MaxPayload)
	fmt.Printf("%x\n", batch)

	frames, err := relay.Receive(nil, webproxy.SharedLane, batch)
	for _, f := range frames {
		fmt.Printf("stream %d: %v of %d bytes\n", f.Stream, f.Type, len(f.Payload))
	}
	fmt.Println(err, relay.Stream(1).Ungranted())
	// Output:
	// 01000001000000000200000100000001ef
	// stream 1: OPEN of 0 bytes
	// stream 1: DATA of 1 bytes
	// <nil> 1
}
