package faults_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/obfuscation"
)

// Numbers of the soak's data centres. 2 is a good one.
const (
	dcCloses   mtwire.DC = 1   // closes every connection
	dcStalls   mtwire.DC = 3   // reads and sends nothing
	dcGarbage  mtwire.DC = 4   // sends random bytes, and resets
	dcRefuses  mtwire.DC = 5   // is not there
	dcResets   mtwire.DC = -2  // resets behind the first bytes
	dcFloods   mtwire.DC = -4  // sends without end
	dcErrors   mtwire.DC = 203 // sends a transport error
	dcNumbered mtwire.DC = 99  // has no address
)

// badDataCenters are the data centres that fail in some way.
var badDataCenters = []mtwire.DC{dcCloses, dcStalls, dcGarbage, dcRefuses, dcResets, dcFloods, dcErrors, dcNumbered}

// startDataCenters starts a good data centre and bad ones, and returns their
// addresses.
func startDataCenters(t *testing.T) map[datacenter.DC][]string {
	refusing := listenApart(t)
	refusing.Close()
	return map[datacenter.DC][]string{
		2:         {startDataCenter(t, listen(t)).Addr().String()},
		dcRefuses: {refusing.Addr().String()},
		dcCloses:  {startServer(t, func(net.Conn, *rand.Rand) {})},
		dcStalls: {startServer(t, func(conn net.Conn, _ *rand.Rand) {
			conn.(*net.TCPConn).SetReadBuffer(4 << 10)
			awaitClose(conn)
		})},
		dcGarbage: {startServer(t, func(conn net.Conn, rng *rand.Rand) {
			conn.Write(randomBytes(rng, 1+rng.IntN(40_000)))
			time.Sleep(time.Duration(rng.IntN(50)) * time.Millisecond)
			resetConn(conn)
		})},
		dcResets: {startServer(t, func(conn net.Conn, rng *rand.Rand) {
			io.CopyN(io.Discard, conn, int64(1+rng.IntN(100)))
			resetConn(conn)
		})},
		dcFloods: {startServer(t, func(conn net.Conn, rng *rand.Rand) {
			for err := error(nil); err == nil; {
				_, err = conn.Write(randomBytes(rng, 16<<10))
			}
		})},
		dcErrors: {startServer(t, func(conn net.Conn, rng *rand.Rand) {
			stream, init, err := obfuscation.Accept(conn, nil)
			if err != nil {
				return
			}
			encoder := frame.Encoder{Protocol: init.Protocol, From: frame.Server}
			if b, err := encoder.Append(nil, frame.Packet{Kind: frame.KindTransportError, Code: 404}); err == nil {
				stream.Write(b)
			}
			awaitClose(conn)
		})},
	}
}

// awaitClose waits until the peer is gone, without reading what it has sent.
func awaitClose(conn net.Conn) {
	for {
		time.Sleep(20 * time.Millisecond)
		if peerGone(conn) {
			return
		}
	}
}

// startServer serves connections until the test ends.
func startServer(t *testing.T, serve func(conn net.Conn, rng *rand.Rand)) (address string) {
	ln := listen(t)
	var conns connSet
	var running sync.WaitGroup
	running.Go(func() { acceptAll(ln, &conns, &running, serve) })
	t.Cleanup(func() {
		ln.Close()
		conns.closeAll()
		running.Wait()
	})
	return ln.Addr().String()
}

// acceptAll serves connections until ln fails.
func acceptAll(ln net.Listener, conns *connSet, running *sync.WaitGroup, serve func(net.Conn, *rand.Rand)) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		if !conns.add(conn) {
			continue
		}
		running.Go(func() {
			defer conns.remove(conn)
			serve(conn, rand.New(rand.NewPCG(rand.Uint64(), 0)))
		})
	}
}

// site is the fronting host: a TLS server that fails now and then.
type site struct {
	address string
	config  *tls.Config

	mu      sync.Mutex
	serve   func(net.Conn, *rand.Rand) // how the next connections are served
	ln      net.Listener               // nil while the site is down
	healthy bool
	changed chan struct{} // closed when it begins to behave in another way

	conns   connSet
	running sync.WaitGroup
}

func newSite(t *testing.T) *site {
	config, _, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	ln := listenApart(t) // see restart
	s := &site{address: ln.Addr().String(), config: config, changed: make(chan struct{})}
	s.listen(ln)
	s.behave(s.answer, true)
	t.Cleanup(func() {
		s.close()
		s.conns.closeAll()
		s.running.Wait()
	})
	return s
}

func (s *site) listen(ln net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ln = ln
	s.running.Go(func() {
		acceptAll(ln, &s.conns, &s.running, func(conn net.Conn, rng *rand.Rand) {
			s.mu.Lock()
			serve := s.serve
			s.mu.Unlock()
			serve(conn, rng)
		})
	})
}

// close stops listening, so that connections are refused.
func (s *site) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ln != nil {
		s.ln.Close()
		s.ln = nil
	}
}

func (s *site) behave(serve func(net.Conn, *rand.Rand), healthy bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serve, s.healthy = serve, healthy
	close(s.changed)
	s.changed = make(chan struct{})
}

// state returns whether the site answers as it should, and a channel that is closed
// when that changes.
func (s *site) state() (healthy bool, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.healthy, s.changed
}

// answer is a good site: it has a page for each visitor that completes a handshake.
func (s *site) answer(conn net.Conn, _ *rand.Rand) {
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	server := tls.Server(conn, s.config)
	b := make([]byte, 4<<10)
	for {
		if _, err := server.Read(b); err != nil {
			return
		}
		if _, err := io.WriteString(server, sitePage); err != nil {
			return
		}
	}
}

const sitePage = "HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\na site of its own\n"

// misbehave makes the site fail in one way after the other, with good times between,
// until ctx ends. It leaves a good site.
func (s *site) misbehave(ctx context.Context, rng *rand.Rand) {
	defer s.behave(s.answer, true)
	failures := []func(net.Conn, *rand.Rand){
		func(net.Conn, *rand.Rand) {}, // closes at once
		func(conn net.Conn, _ *rand.Rand) { awaitClose(conn) },
		func(conn net.Conn, _ *rand.Rand) { resetConn(conn) },
		func(conn net.Conn, rng *rand.Rand) { // sends something without being asked
			conn.Write(randomBytes(rng, 1+rng.IntN(5000)))
			io.Copy(io.Discard, conn)
		},
		func(conn net.Conn, rng *rand.Rand) { // ends in the middle of a visit
			time.AfterFunc(time.Duration(rng.IntN(300))*time.Millisecond, func() { conn.Close() })
			s.answer(conn, rng)
		},
	}
	for ctx.Err() == nil {
		s.behave(s.answer, true)
		sleepUntil(ctx, time.Duration(300+rng.IntN(2000))*time.Millisecond)
		if i := rng.IntN(len(failures) + 1); i < len(failures) {
			s.behave(failures[i], false)
			sleepUntil(ctx, time.Duration(100+rng.IntN(1000))*time.Millisecond)
			continue
		}
		s.restart(ctx, rng)
	}
}

// restart closes all connections and is away for a while.
func (s *site) restart(ctx context.Context, rng *rand.Rand) {
	s.behave(s.answer, false)
	s.close()
	s.conns.each(func(conn net.Conn) { conn.Close() })
	sleepUntil(ctx, time.Duration(rng.IntN(500))*time.Millisecond)
	for {
		ln, err := net.Listen("tcp", s.address)
		if err == nil {
			s.listen(ln)
			return
		}
		time.Sleep(10 * time.Millisecond) // another program has the port
	}
}

// visitors is the name of the site's visitors in the figures.
const visitors = "visitors"

// visiting is visitors of the site. Those that come and leave while the site is good
// must get its page.
func (s *soak) visiting(ctx context.Context) {
	rng := rand.New(rand.NewPCG(s.seed+3, 0))
	for ctx.Err() == nil {
		healthy, changed := s.site.state()
		if !healthy {
			sleepUntil(ctx, 10*time.Millisecond)
			continue
		}
		visit, cancel := context.WithTimeout(ctx, testTimeout)
		go func() {
			select {
			case <-changed:
				cancel()
			case <-visit.Done():
			}
		}()
		started := time.Now()
		err := s.visit(visit, rng)
		cancel()
		select {
		case <-changed: // perhaps the reason for the error
			continue
		case <-ctx.Done():
			return
		default:
		}
		if err != nil {
			s.count(visitors, -1, []error{err})
			continue
		}
		s.count(visitors, time.Since(started), nil)
	}
}

// visit requests the site's page. Its error has what ended the proxy's session.
func (s *soak) visit(ctx context.Context, rng *rand.Rand) error {
	conn, err := s.dial(ctx, attackerAddress(rng))
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	address, ended := conn.LocalAddr().String(), make(chan error, 1)
	s.mu.Lock()
	s.visits[address] = ended
	s.mu.Unlock()
	err = s.get(conn)
	conn.Close()
	if err != nil {
		select {
		case cause := <-ended:
			err = fmt.Errorf("%w; the proxy's session: %w", err, cause)
		case <-ctx.Done():
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.visits, address)
	return err
}

// get requests the site's page over conn.
func (s *soak) get(conn net.Conn) error {
	client := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: s.secret.Domain})
	if _, err := io.WriteString(client, "GET / HTTP/1.1\r\nHost: "+s.secret.Domain+"\r\n\r\n"); err != nil {
		return err
	}
	page := make([]byte, len(sitePage))
	_, err := io.ReadFull(client, page)
	return err
}
