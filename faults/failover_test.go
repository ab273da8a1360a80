package faults_test

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/tools/loadgen"
	"github.com/mtwire/mtwire/proxy"
)

// serveEach passes each connection on a new listener to serve until the test ends.
func serveEach(t *testing.T, serve func(conn net.Conn)) (address string) {
	t.Helper()
	ln := listen(t)
	var conns connSet
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			if conns.add(conn) {
				go func() {
					defer conns.remove(conn)
					serve(conn)
				}()
			}
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		conns.closeAll()
		<-done
	})
	return ln.Addr().String()
}

// socksSuccess serves a SOCKS5 client up to its reply, which is success. It reports
// whether the client was a SOCKS5 client.
func socksSuccess(conn net.Conn) bool {
	b := make([]byte, 10)
	if _, err := io.ReadFull(conn, b[:3]); err != nil || b[0] != 5 {
		return false
	}
	conn.Write([]byte{5, 0})
	if _, err := io.ReadFull(conn, b); err != nil { // an IPv4 address
		return false
	}
	conn.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	return true
}

// Upstreams that can be connected to and lead nowhere. "direct" is beside each.
var deadUpstreams = map[string]func(t *testing.T) (upstream string){
	"SOCKS5 that reports success and closes": func(t *testing.T) string {
		return "socks5://" + serveEach(t, func(conn net.Conn) { socksSuccess(conn) })
	},
	"SOCKS5 that reports success and resets": func(t *testing.T) string {
		return "socks5://" + serveEach(t, func(conn net.Conn) {
			if socksSuccess(conn) {
				conn.Read(make([]byte, 1000))
				resetConn(conn)
			}
		})
	},
	"SOCKS5 that reports success and is silent": func(t *testing.T) string {
		return "socks5://" + serveEach(t, func(conn net.Conn) {
			if socksSuccess(conn) {
				io.Copy(io.Discard, conn)
			}
		})
	},
	"MTProxy with another secret": func(t *testing.T) string {
		other := modes[1]
		other.secret = "dd" + "11111111111111111111111111111111"
		_, address := startProxy(t, other, nil, proxy.Config{}, listen(t))
		return linkTo(address, modes[1].secret)
	},
	"MTProxy with another secret and a site": func(t *testing.T) string {
		other := modes[2]
		other.secret = "ee11111111111111111111111111111111" + "6578616d706c652e636f6d"
		_, address := startProxy(t, other, newFrontingHost(t), proxy.Config{}, listen(t))
		return linkTo(address, modes[1].secret)
	},
}

// checkMoved checks that the first of four clients was moved on, and no other. If the machine was
// late, the first may have reached the other address earlier, after the 300 ms that an attempt
// has alone; and the back-off of the address, a second, may have ended for a later client.
func checkMoved(t *testing.T, p *proxy.Proxy, late time.Duration) {
	t.Helper()
	if n := p.Stats().Moved; n != 1 && late < 200*time.Millisecond || n > 4 {
		t.Errorf("%d clients were moved on, want 1; the machine was late by %v", n, late)
	}
}

// lateness begins to measure how late the machine runs things, because of other programs and
// tests. The function that it returns has the sum.
func lateness(t *testing.T) (sum func() time.Duration) {
	const pause = 10 * time.Millisecond
	stop, late := make(chan struct{}), make(chan time.Duration, 1)
	go func() {
		for sum := time.Duration(0); ; {
			begin := time.Now()
			select {
			case <-time.After(pause):
				sum += time.Since(begin) - pause
			case <-stop:
				late <- sum + max(0, time.Since(begin)-pause)
				return
			case <-t.Context().Done():
				return
			}
		}
	}()
	return func() time.Duration { close(stop); return <-late }
}

// linkTo returns a proxy's link.
func linkTo(address, secret string) string {
	host, port, _ := net.SplitHostPort(address)
	return "tg://proxy?server=" + host + "&port=" + port + "&secret=" + secret
}

// Beside an upstream that can be connected to and leads nowhere, every client is
// served: the first ones are moved on, and later ones do not notice it at all.
func TestDeadUpstreamBesideAnotherFailsNoClient(t *testing.T) {
	for name, start := range deadUpstreams {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inModesAtOnce(t, func(t *testing.T, m mode) {
				dc := startDataCenter(t, listen(t))
				config := oneDataCenter(dc)
				for _, text := range []string{start(t), "direct"} {
					upstream, err := proxy.ParseUpstream(text)
					if err != nil {
						t.Fatal(err)
					}
					config.Upstreams = append(config.Upstreams, upstream)
				}
				p, address := startProxy(t, m, newFrontingHost(t), config, listen(t))
				late := lateness(t)
				for range 4 {
					exchange(t, mustDial(t, m, address, 2, nil), 3)
				}
				checkMoved(t, p, late())
			})
		})
	}
}

// An address that accepts connections and is silent, or closes them, delays one
// client of its data centre, and fails none.
func TestDeadAddressBesideAnotherFailsNoClient(t *testing.T) {
	for name, serve := range map[string]func(net.Conn){
		"silent": func(conn net.Conn) { io.Copy(io.Discard, conn) },
		"closes": func(conn net.Conn) { conn.Read(make([]byte, 100)) },
		"resets": func(conn net.Conn) { conn.Read(make([]byte, 100)); resetConn(conn) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inModesAtOnce(t, func(t *testing.T, m mode) {
				dc := startDataCenter(t, listen(t))
				config := oneDataCenter(dc)
				config.DataCenters[0] = []string{serveEach(t, serve), dc.Addr().String()}
				p, address := startProxy(t, m, newFrontingHost(t), config, listen(t))
				var clients []*loadgen.Client
				late := lateness(t)
				for range 4 {
					clients = append(clients, mustDial(t, m, address, 2, nil))
				}
				checkMoved(t, p, late())
				for _, c := range clients {
					exchange(t, c, 20)
				}
			})
		})
	}
}
