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

// server answers the first step of a key exchange, and keeps all bytes.
type server struct {
	ln     net.Listener
	config *mtwire.ListenConfig
	wait   sync.WaitGroup

	mu    sync.Mutex
	first *session // to have had an answer
}

// session is a connection as it was.
type session struct {
	received, sent []byte // on the wire
	secret         string
	transport      mtwire.Transport
	clock          time.Time       // in its FakeTLS hello
	packets        []mtwire.Packet // received
	replies        []mtwire.Packet
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
	s.wait.Go(func() {
		for {
			conn, err := s.ln.Accept()
			if err != nil {
				return
			}
			s.wait.Go(func() { s.serve(&tap{Conn: conn}, secret) })
		}
	})
	return s, nil
}

// url is where a case's client is to go.
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

// stop ends the server, whose client has ended, and returns the first session
// that had an answer, nil if none had.
func (s *server) stop() *session {
	s.ln.Close()
	s.wait.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first
}

// serve serves one connection, and keeps it if it had an answer.
func (s *server) serve(t *tap, secret string) {
	defer t.Close()
	ctx, cancel := context.WithTimeout(context.Background(), driveLimit)
	defer cancel()
	conn := mtwire.Server(t, s.config)
	kept := &session{secret: secret}
	for {
		p, err := conn.Receive(ctx)
		if err != nil {
			break
		}
		p.Payload, p.Padding = bytes.Clone(p.Payload), bytes.Clone(p.Padding)
		reply := answer(p.Payload)
		if conn.Transport().Protocol == mtwire.PaddedIntermediate {
			reply.Padding = []byte{0x5a, 0x5a} // ours to choose
		}
		if conn.SendPacket(ctx, reply) != nil {
			break
		}
		kept.packets, kept.replies = append(kept.packets, p), append(kept.replies, reply)
		// What comes behind the last answer is how the client takes its leave.
		kept.received, kept.sent = t.received, t.sent
	}
	if len(kept.replies) == 0 {
		return
	}
	kept.transport = conn.Transport()
	if kept.transport.FakeTLS {
		hello, _, err := faketls.ParseClientHello(kept.received)
		if err != nil {
			return
		}
		kept.clock, _ = hello.Match(s.config.Secrets[0].Key)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first == nil {
		s.first = kept
	}
}

// answer is resPQ for req_pq and req_pq_multi, and transport error 404 for all
// else, as a data centre's is.
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

// tap keeps what goes through a connection. Reads and writes happen in one
// goroutine at a time here.
type tap struct {
	net.Conn
	received, sent []byte
}

func (t *tap) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	t.received = append(t.received, p[:n]...)
	return n, err
}

func (t *tap) Write(p []byte) (int, error) {
	n, err := t.Conn.Write(p)
	t.sent = append(t.sent, p[:n]...)
	return n, err
}
