package mtwire_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/obfuscation"
)

// helloOfSize returns a ClientHello padded to that many bytes, record header included.
func helloOfSize(t *testing.T, secret mtwire.Secret, size int) []byte {
	t.Helper()
	hello := unhex("1603010000" + "01000000" + "0303")
	hello = append(hello, make([]byte, 32)...) // random, signed below
	hello = append(hello, 32)
	hello = append(hello, bytes.Repeat([]byte{0x11}, 32)...) // session ID
	hello = append(hello, unhex("0002"+"1301"+"0100")...)    // cipher suites, no compression
	hello = append(hello, unhex("0000"+"0015"+"0000")...)    // extensions: padding alone
	extensions := len(hello) - 6
	hello = append(hello, make([]byte, size-len(hello))...)
	binary.BigEndian.PutUint16(hello[3:], uint16(size-5))
	binary.BigEndian.PutUint16(hello[7:], uint16(size-9))
	binary.BigEndian.PutUint16(hello[extensions:], uint16(size-extensions-2))
	binary.BigEndian.PutUint16(hello[extensions+4:], uint16(size-extensions-6))
	signed, err := faketls.AppendClientHello(nil, &faketls.ClientConfig{
		Key: secret.Key, Domain: secret.Domain, Hello: func(string) ([]byte, error) { return hello, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// skipServerHello reads a server's answer to a FakeTLS hello, which every client waits for.
func skipServerHello(t *testing.T, client net.Conn) {
	t.Helper()
	for range 3 {
		header := make([]byte, 5)
		if _, err := io.ReadFull(client, header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, client, int64(binary.BigEndian.Uint16(header[3:]))); err != nil {
			t.Fatal(err)
		}
	}
}

// obfuscated returns an init payload, and two packets with payload that follow it.
func obfuscated(t *testing.T, config *obfuscation.ClientConfig, payload, padding []byte) (init, first, second []byte) {
	t.Helper()
	drawn, content, err := obfuscation.NewInit(config)
	if err != nil {
		t.Fatal(err)
	}
	streams := content.Streams(frame.Client)
	e := frame.Encoder{Protocol: config.Protocol}
	packet := func() []byte {
		b, err := e.Append(nil, mtwire.Packet{Payload: payload, Padding: padding})
		if err != nil {
			t.Fatal(err)
		}
		streams.Send.XORKeyStream(b, b)
		return b
	}
	return drawn[:], packet(), packet()
}

// A server accepts the records of each client:
//
//   - The hello has 517 bytes in all clients until 2025, and about 1,700 to 1,850, a
//     different number each time, in TDLib and mtcute.
//   - TDLib, Telegram Desktop and Android put the init payload and the first packet into one
//     record. mtcute does too, but writes its ChangeCipherSpec before it. gotd has a record
//     for each write.
//   - Some send two pings in a row.
func TestServerAcceptsTheRecordsOfEachClient(t *testing.T) {
	secret := secretOf(t, mtwiretest.FakeTLSSecret)
	ping := append(make([]byte, 16), unhex("14000000f18e7ebea0a1a2a3a4a5a6a7a8a9aaabacadaeaf")...)
	ping[8] = 1 // TDLib's message ID
	ccs := unhex("140303000101")
	record := func(parts ...[]byte) []byte {
		b := bytes.Join(parts, nil)
		return append(binary.BigEndian.AppendUint16([]byte{0x17, 3, 3}, uint16(len(b))), b...)
	}
	writesOf := map[string]func(init, first, second []byte) [][]byte{
		"TDLib": func(init, first, second []byte) [][]byte {
			return [][]byte{append(bytes.Clone(ccs), record(init, first)...), record(second)}
		},
		"TDLib, two pings in a record": func(init, first, second []byte) [][]byte {
			return [][]byte{append(bytes.Clone(ccs), record(init, first, second)...)}
		},
		"mtcute": func(init, first, second []byte) [][]byte {
			return [][]byte{ccs, record(init, first), record(second)}
		},
		"gotd": func(init, first, second []byte) [][]byte {
			return [][]byte{append(bytes.Clone(ccs), record(init)...), record(first), record(second)}
		},
	}
	check := func(name string, size, padding int) {
		server, client := serve(t, &mtwire.ListenConfig{Secrets: []mtwire.Secret{secret}})
		client.SetDeadline(time.Now().Add(30 * time.Second))
		handshake := make(chan error, 1)
		go func() { handshake <- server.Handshake(short(t)) }()
		if _, err := client.Write(helloOfSize(t, secret, size)); err != nil {
			t.Fatal(err)
		}
		skipServerHello(t, client)
		config := &obfuscation.ClientConfig{Protocol: frame.PaddedIntermediate, Key: &secret.Key, DC: 2}
		for _, b := range writesOf[name](obfuscated(t, config, ping, bytes.Repeat([]byte{0x5a}, padding))) {
			if _, err := client.Write(b); err != nil {
				t.Fatal(err)
			}
		}
		if err := <-handshake; err != nil {
			t.Fatalf("%s, hello of %d bytes: %v", name, size, err)
		}
		for range 2 {
			p, err := server.Receive(short(t))
			if err != nil || !bytes.Equal(p.Payload, ping) || len(p.Padding) != padding {
				t.Fatalf("%s, hello of %d bytes, padding %d: %x and %d, %v", name, size, padding, p.Payload, len(p.Padding), err)
			}
		}
	}
	for name := range writesOf {
		for _, size := range []int{517, 1753, 1817} {
			for padding := range 16 {
				check(name, size, padding)
			}
		}
	}
}

// Telegram Desktop tests each connection with req_pq, and sends req_pq_multi after the
// answer. Both have up to 63 random words after the nonce, which the message's length
// includes. With dd and ee secrets, up to 15 bytes of padding follow the message.
func TestWordsAfterTheNonceBelongToTheRequest(t *testing.T) {
	check := func(secret mtwire.Secret, protocol mtwire.Protocol, paddings int) {
		init, content, err := obfuscation.NewInit(&obfuscation.ClientConfig{Protocol: protocol, Key: &secret.Key, DC: 2})
		if err != nil {
			t.Fatal(err)
		}
		streams := content.Streams(frame.Client)
		server, client := serve(t, &mtwire.ListenConfig{Secrets: []mtwire.Secret{secret}})
		if _, err := client.Write(init[:]); err != nil {
			t.Fatal(err)
		}
		e, ctx := frame.Encoder{Protocol: protocol}, short(t)
		for words := range 64 {
			for padding := range paddings {
				request := append(make([]byte, 16), unhex("1400000078974660a0a1a2a3a4a5a6a7a8a9aaabacadaeaf")...)
				request = append(request, bytes.Repeat([]byte{0x5a}, 4*words)...)
				binary.LittleEndian.PutUint32(request[16:], uint32(len(request)-20))
				b, err := e.Append(nil, mtwire.Packet{Payload: request, Padding: bytes.Repeat([]byte{0xa5}, padding)})
				if err != nil {
					t.Fatal(err)
				}
				streams.Send.XORKeyStream(b, b)
				if _, err := client.Write(b); err != nil {
					t.Fatal(err)
				}
				p, err := server.Receive(ctx)
				if err != nil || !bytes.Equal(p.Payload, request) || len(p.Padding) != padding {
					t.Fatalf("%v, %d words, padding %d: %x and %d, %v", protocol, words, padding, p.Payload, len(p.Padding), err)
				}
			}
		}
	}
	check(secretOf(t, mtwiretest.PlainSecret), mtwire.Abridged, 1)
	check(secretOf(t, mtwiretest.PaddedSecret), mtwire.PaddedIntermediate, 16)
}

// Without a secret, a server accepts every DC number: mtcute, Telethon and Android leave
// random bytes in its place.
func TestAnyDCIsAcceptedWithoutASecret(t *testing.T) {
	for _, dc := range []datacenter.DC{0, 1, 252, 25839, -20118, 32767, -32768} {
		for _, protocol := range []mtwire.Protocol{mtwire.Abridged, mtwire.Intermediate, mtwire.PaddedIntermediate} {
			init, first, _ := obfuscated(t, &obfuscation.ClientConfig{Protocol: protocol, DC: dc}, encrypted(3), nil)
			server, client := serve(t, nil)
			if _, err := client.Write(append(init, first...)); err != nil {
				t.Fatal(err)
			}
			if _, err := server.Receive(short(t)); err != nil || server.Transport().DC != dc || server.Transport().Protocol != protocol {
				t.Errorf("%v, DC %d: %v, %v", protocol, dc, server.Transport(), err)
			}
		}
	}
}

// browserUpgrade is the upgrade request of Chromium 156. It offers compression, which the
// server declines.
const browserUpgrade = "GET /apiws HTTP/1.1\r\nHost: 127.0.0.1:7443\r\nConnection: Upgrade\r\nPragma: no-cache\r\n" +
	"Cache-Control: no-cache\r\nUser-Agent: Mozilla/5.0\r\nUpgrade: websocket\r\nOrigin: https://web.telegram.org\r\n" +
	"Sec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
	"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nSec-WebSocket-Protocol: binary\r\n\r\n"

// maskedFrame returns a client's WebSocket frame. A length that is too large for two bytes
// has eight.
func maskedFrame(first byte, payload []byte) []byte {
	key := [4]byte{0x5a, 0xc3, 0x01, 0xfe}
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	b = append(b, key[:]...)
	for i, x := range payload {
		b = append(b, x^key[i%4])
	}
	return b
}

// Chromium sends a message of more than 128 KiB in several frames, and a Blob with short
// ones in between. The boundaries of frames have no meaning. Its close frame has no status
// if the page closes the WebSocket, and 1001 if the user leaves the page.
func TestServerAcceptsAMessageInSeveralFrames(t *testing.T) {
	const binaryMessage, continued, last, closing = 0x02, 0x00, 0x80, 0x88
	for name, c := range map[string]struct {
		cuts  []int
		leave []byte
	}{
		"ArrayBuffer": {[]int{130936, 131000}, nil},
		"Blob":        {[]int{130936, 64, 130936, 64}, []byte{0x03, 0xe9}},
	} {
		t.Run(name, func(t *testing.T) {
			server, client := serve(t, nil)
			client.SetDeadline(time.Now().Add(30 * time.Second))
			payload := encrypted(19200)
			init, packet, _ := obfuscated(t, &obfuscation.ClientConfig{Protocol: frame.Intermediate, DC: 2}, payload, nil)
			wire := append([]byte(browserUpgrade), maskedFrame(last|binaryMessage, init)...)
			first := byte(binaryMessage)
			for _, n := range c.cuts {
				wire = append(wire, maskedFrame(first, packet[:n])...)
				first, packet = continued, packet[n:]
			}
			wire = append(wire, maskedFrame(last|continued, packet)...)
			wire = append(wire, maskedFrame(closing, c.leave)...)
			go client.Write(wire)

			p, err := server.Receive(short(t))
			if err != nil || !bytes.Equal(p.Payload, payload) {
				t.Fatalf("%d bytes of %d, %v", len(p.Payload), len(payload), err)
			}
			if _, err := server.Receive(short(t)); err != io.EOF {
				t.Errorf("at the end: %v", err)
			}
			server.Close()
			answer := bufio.NewReader(client)
			response, err := http.ReadResponse(answer, nil)
			if err != nil || response.StatusCode != http.StatusSwitchingProtocols ||
				response.Header.Get("Sec-WebSocket-Protocol") != "binary" || response.Header.Get("Sec-WebSocket-Extensions") != "" {
				t.Fatalf("%+v, %v", response, err)
			}
			// A browser reports a clean close if its close frame is echoed.
			want := append([]byte{closing, byte(len(c.leave))}, c.leave...)
			if rest, err := io.ReadAll(answer); err != nil || !bytes.Equal(rest, want) {
				t.Errorf("behind the upgrade: % x, %v, want % x", rest, err, want)
			}
		})
	}
}
