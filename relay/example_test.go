package relay_test

import (
	"context"
	"fmt"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/relay"
)

// A client over WebSocket reaches a data centre that is dialled with the framing Full.
func ExampleRelay() {
	dc := mtwiretest.NewDataCenter(nil)
	defer dc.Close()
	to, _ := mtwire.ParseEndpoint("tcp://" + dc.Addr().String() + "?protocol=full")
	r, err := relay.New(relay.Config{To: []mtwire.Endpoint{to}})
	if err != nil {
		fmt.Println(err)
		return
	}
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	served := make(chan error)
	go func() { served <- ln.Serve(ctx, r.Handle) }()

	conn, err := mtwire.Dial(ctx, "ws://"+ln.Addr().String()+"/apiws", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	conn.Send(ctx, make([]byte, 40)) // a message that a data centre cannot decrypt
	_, err = conn.Receive(ctx)
	fmt.Println(err)
	conn.Close()
	cancel()
	<-served
	// Output: transport error 404: auth key not found
}
