//go:build !js

package webproxy

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
)

// recordLengths notes the lengths of the TLS records that are read from a connection.
type recordLengths struct {
	net.Conn
	mu   sync.Mutex
	rest []byte // of a record that is incomplete
	all  []int
}

func (c *recordLengths) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rest = append(c.rest, p[:n]...)
	for len(c.rest) >= 5 {
		length := 5 + int(binary.BigEndian.Uint16(c.rest[3:]))
		if len(c.rest) < length {
			break
		}
		c.all, c.rest = append(c.all, length), c.rest[length:]
	}
	return n, err
}

// On the network, the page does not show by records of a length that is always the same.
func TestThePagesRecordsHaveNoFixedLength(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		relay := newRelay(t, HTTPS, http2, nil)
		var loads [2][]int
		for i := range loads {
			var conn *recordLengths
			client := &http.Client{Transport: &http.Transport{
				TLSClientConfig: relay.config().TLSClientConfig, ForceAttemptHTTP2: http2,
				DialContext: func(_ context.Context, network, _ string) (net.Conn, error) {
					c, err := net.Dial(network, relay.web.Listener.Addr().String())
					conn = &recordLengths{Conn: c}
					return conn, err
				},
			}}
			answer, err := client.Get("https://" + relay.link.Host + relay.link.Base() + "?bridge=" + relay.link.Capability().String())
			if err != nil {
				t.Fatal(err)
			}
			if page, err := io.ReadAll(answer.Body); err != nil || len(page) < 10_000 || answer.StatusCode != http.StatusOK {
				t.Fatal(len(page), err, answer.Status)
			}
			client.CloseIdleConnections()
			conn.mu.Lock()
			loads[i] = conn.all
			conn.mu.Unlock()
			counts := map[int]int{}
			for _, length := range loads[i] {
				counts[length]++
			}
			for length, n := range counts {
				if n > 4 {
					t.Errorf("HTTP/2 %v: %d of %d records have %d bytes", http2, n, len(loads[i]), length)
				}
			}
		}
		if slices.Equal(loads[0], loads[1]) {
			t.Errorf("HTTP/2 %v: the records of two answers have the same lengths: %d", http2, loads[0])
		}
	}
}
