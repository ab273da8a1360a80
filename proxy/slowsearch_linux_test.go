package proxy

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/internal/keysearch"
	"github.com/mtwire/mtwire/mtproxy"
)

// startSlowSearches starts a proxy whose key searches wait for hours, because the
// budget of failed ones is spent.
func startSlowSearches(t *testing.T, config Config) (*Proxy, net.Addr) {
	t.Helper()
	config.Users = numberedUsers(0, 80, mtproxy.FakeTLS, "a.example")
	p := newProxy(t, config)
	p.search = keysearch.New(keysearch.Config{Processors: 1e-6, MaxWait: time.Hour})
	if err := p.SetUsers(config.Users); err != nil {
		t.Fatal(err)
	}
	q := keysearch.Query{FakeTLS: true, ServerName: "a.example", Length: 1 << 30}
	p.search.Find(t.Context(), p.users.Load().index, netip.MustParseAddr("10.0.0.0"), q, func(*mtproxy.KeySet) int { return -1 })
	ln := listen(t, "tcp", "127.0.0.1:0")
	serve(t, p, ln)
	return p, ln.Addr()
}

// readingHost starts a host that calls answer when it has read want, and afterwards
// sends the rest of what it reads. Connections with other bytes are probes.
func readingHost(t *testing.T, want []byte, answer func(net.Conn)) (address string, rest <-chan []byte) {
	t.Helper()
	seen := make(chan []byte, 10)
	return startHost(t, func(conn net.Conn) {
		got := make([]byte, len(want))
		if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, want) {
			return
		}
		answer(conn)
		more, _ := io.ReadAll(conn)
		seen <- more
	}), seen
}

// A client that leaves while its search waits leaves the queue with it, and its
// fronting host, which has got all that it sent, sees the end.
func TestClientThatLeavesEndsItsSearch(t *testing.T) {
	hello := helloOf(t, [16]byte{1}, "a.example")
	asked := make(chan struct{}, 1)
	host, rest := readingHost(t, hello, func(net.Conn) { asked <- struct{}{} })
	for name, config := range map[string]Config{
		"fronted":         {Fronts: map[string]Front{"": {Address: host}}},
		"host is refused": {Fronts: map[string]Front{"": {Address: "127.0.0.1:1"}}},
	} {
		p, address := startSlowSearches(t, config)
		for how, leave := range map[string]func(*net.TCPConn){
			"close":      func(c *net.TCPConn) { c.Close() },
			"half-close": func(c *net.TCPConn) { c.CloseWrite() },
			"reset":      func(c *net.TCPConn) { c.SetLinger(0); c.Close() },
		} {
			t.Run(name+"/"+how, func(t *testing.T) {
				conn, err := net.Dial("tcp", address.String())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				conn.Write(hello)
				eventually(t, "a session", func() bool { return p.Stats().Open == 1 })
				if name == "fronted" {
					<-asked
				}
				leave(conn.(*net.TCPConn))
				eventually(t, "the session's end", func() bool { return p.Stats().Open == 0 })
				if name != "fronted" {
					return
				}
				if more := <-rest; len(more) > 0 {
					t.Errorf("the host got %d bytes more", len(more))
				}
			})
		}
	}
}

// A hello that is longer than any of Telegram's clients gets the host's answer at the
// host's time, however long the search for its key takes. Others wait for the search.
func TestLongHelloIsAnsweredAtTheHostsTime(t *testing.T) {
	hello, err := faketls.AppendClientHello(nil, &faketls.ClientConfig{Key: [16]byte{1}, Domain: "a.example"})
	if err != nil {
		t.Fatal(err)
	}
	for _, length := range []int{len(hello), keysearch.UsualLength, keysearch.UsualLength + 1, 16 << 10} {
		hello := padHello(hello, length)
		answered := make(chan struct{}, 1)
		host, _ := readingHost(t, hello, func(conn net.Conn) {
			conn.Write([]byte("no"))
			answered <- struct{}{}
		})
		_, address := startSlowSearches(t, Config{Fronts: map[string]Front{"": {Address: host}}})
		conn, err := net.Dial("tcp", address.String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.Write(hello)
		<-answered
		got := make([]byte, 2)
		if length > keysearch.UsualLength {
			conn.SetReadDeadline(time.Now().Add(30 * time.Second))
			if _, err := io.ReadFull(conn, got); err != nil || string(got) != "no" {
				t.Errorf("%d bytes: %q, %v", length, got, err)
			}
			continue
		}
		conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if n, err := conn.Read(got); n > 0 {
			t.Errorf("%d bytes: %q, %v during the search", length, got[:n], err)
		}
	}
}

// padHello returns a ClientHello with a padding extension behind the others, so that
// its record has that length.
func padHello(hello []byte, length int) []byte {
	if length == len(hello) {
		return hello
	}
	hello = bytes.Clone(hello)
	body := length - len(hello) - 4
	hello = append(hello, 0, 21, byte(body>>8), byte(body))
	hello = append(hello, make([]byte, body)...)
	put := func(at int, n int) { hello[at], hello[at+1] = byte(n>>8), byte(n) }
	put(3, length-5)
	put(7, length-9)
	extensions := 5 + 4 + 2 + 32 + 1 + 32
	extensions += 2 + (int(hello[extensions])<<8 | int(hello[extensions+1])) // cipher suites
	extensions += 1 + int(hello[extensions])                                 // compression
	put(extensions, length-extensions-2)
	return hello
}
