package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/faketls"
)

// server answers the first step of a key exchange, and records all bytes of the
// connection.
type server struct {
	ln      net.Listener
	config  *mtwire.ListenConfig
	running sync.WaitGroup

	mu    sync.Mutex
	first *session // the first that was answered
}

// session is a recorded connection.
type session struct {
	received, sent []byte // on the wire
	secret         string
	transport      mtwire.Transport
	clock          time.Time       // in the client's FakeTLS hello
	packets        []mtwire.Packet // received
	replies        []mtwire.Packet // sent
}

func startServer(secret string) (*server, error) {
	s := &server{config: &mtwire.ListenConfig{}}
	if secret != "" {
		parsed, err := mtwire.ParseSecret(secret)
		if err != nil {
			return nil, err
		}
		s.config.Secrets = []mtwire.Secret{parsed}
	}
	var err error
	if s.ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	s.running.Go(func() {
		for {
			conn, err := s.ln.Accept()
			if err != nil {
				return
			}
			s.running.Go(func() { s.serve(&recordingConn{Conn: conn}, secret) })
		}
	})
	return s, nil
}

// url returns the URL for a case's client.
func (s *server) url(t testCase) string {
	port := s.ln.Addr().(*net.TCPAddr).Port
	switch {
	case secrets[t.Secret] != "":
		return fmt.Sprintf("tg://proxy?server=127.0.0.1&port=%d&secret=%s", port, secrets[t.Secret])
	case t.Scheme == "ws":
		return fmt.Sprintf("ws://127.0.0.1:%d/apiws", port)
	case t.Scheme == "http":
		return fmt.Sprintf("http://127.0.0.1:%d/api", port)
	}
	return fmt.Sprintf("tcp://127.0.0.1:%d", port)
}

// stop stops the server, whose client has ended, and returns the first session
// that was answered, nil if none was.
func (s *server) stop() *session {
	s.ln.Close()
	s.running.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first
}

// serve serves one connection, and records it if it is answered.
func (s *server) serve(c *recordingConn, secret string) {
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), driveTimeout)
	defer cancel()
	conn := mtwire.Server(c, s.config)
	recorded := &session{secret: secret}
	for {
		p, err := conn.Receive(ctx)
		if err != nil {
			break
		}
		p.Payload, p.Padding = bytes.Clone(p.Payload), bytes.Clone(p.Padding)
		reply := answer(p.Payload)
		if conn.Transport().Protocol == mtwire.PaddedIntermediate {
			reply.Padding = []byte{0x5a, 0x5a} // any bytes
		}
		if conn.SendPacket(ctx, reply) != nil {
			break
		}
		recorded.packets, recorded.replies = append(recorded.packets, p), append(recorded.replies, reply)
		// Bytes behind the last answer are not recorded: with them the client
		// ends the connection.
		recorded.received, recorded.sent = c.received, c.sent
	}
	if len(recorded.replies) == 0 {
		return
	}
	recorded.transport = conn.Transport()
	if recorded.transport.FakeTLS {
		hello, _, err := faketls.ParseClientHello(recorded.received)
		if err != nil {
			return
		}
		recorded.clock, _ = hello.Match(s.config.Secrets[0].Key)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first == nil {
		s.first = recorded
	}
}

// answer returns resPQ for req_pq and req_pq_multi, and transport error 404 for
// all other messages, as a data centre does.
// Specification: https://core.telegram.org/mtproto/auth_key#dh-exchange-initiation
func answer(request []byte) mtwire.Packet {
	const header = 20
	if len(request) < header+20 || binary.LittleEndian.Uint64(request) != 0 {
		return mtwire.Packet{Kind: mtwire.KindTransportError, Code: 404}
	}
	switch binary.LittleEndian.Uint32(request[header:]) {
	case 0x60469778, 0xbe7e8ef1:
	default:
		return mtwire.Packet{Kind: mtwire.KindTransportError, Code: 404}
	}
	b := make([]byte, 8)
	b = binary.LittleEndian.AppendUint64(b, uint64(time.Now().Unix())<<32|1)
	b = binary.LittleEndian.AppendUint32(b, 64)
	b = binary.LittleEndian.AppendUint32(b, 0x05162463)
	b = append(b, request[header+4:header+20]...)
	b = append(b, bytes.Repeat([]byte{0xb0}, 16)...) // server nonce
	b = append(b, 8)
	b = binary.BigEndian.AppendUint64(b, 1229739323*1402015859)
	b = append(b, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, 0x1cb5c415)
	b = binary.LittleEndian.AppendUint32(b, 1)
	b = binary.LittleEndian.AppendUint64(b, 0xb25898df208d2603) // the test servers' key
	return mtwire.Packet{Payload: b}
}

// recordingConn records the bytes of a connection. It is used by one goroutine at
// a time.
type recordingConn struct {
	net.Conn
	received, sent []byte
}

func (c *recordingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.received = append(c.received, p[:n]...)
	return n, err
}

func (c *recordingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.sent = append(c.sent, p[:n]...)
	return n, err
}
