package frame_test

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/mtwire/mtwire/frame"
)

// A decoder needs more bytes until the whole packet is there.
func Example() {
	encoder := frame.Encoder{Protocol: frame.Intermediate, From: frame.Client}
	wire, err := encoder.Append(nil, frame.Packet{Payload: bytes.Repeat([]byte("mtproto."), 3)})
	if err != nil {
		fmt.Println(err)
		return
	}
	decoder := frame.Decoder{Protocol: frame.Intermediate, From: frame.Client}
	for _, received := range []int{10, len(wire)} {
		packet, n, err := decoder.Parse(wire[:received])
		if errors.Is(err, frame.ErrIncomplete) {
			fmt.Println(received, "bytes: incomplete")
			continue
		}
		fmt.Printf("%d bytes: %s, %q\n", n, packet.Kind, packet.Payload)
	}
	// Output:
	// 10 bytes: incomplete
	// 28 bytes: payload, "mtproto.mtproto.mtproto."
}

// A server's four bytes can be a transport error.
func ExamplePacket_Err() {
	decoder := frame.Decoder{Protocol: frame.Intermediate, From: frame.Server}
	packet, _, err := decoder.Parse([]byte("\x04\x00\x00\x00\x6c\xfe\xff\xff"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(packet.Err())
	// Output: transport error 404: auth key not found
}
