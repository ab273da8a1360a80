package proxy

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
)

// socketPath returns a path for a Unix socket. Some systems limit it to a hundred
// bytes, which t.TempDir may exceed.
func socketPath(t *testing.T) string {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "proxy")
}

// One proxy serves TCP and Unix sockets, IPv4 and IPv6, at the same time, and
// clients of every mode on each.
func TestAllListenersTakeEveryMode(t *testing.T) {
	dc, _ := dataCenter(t)
	log := &logBuffer{}
	p := newProxy(t, Config{
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("::1/128")},
		DataCenters:    allAt(dc),
		Log:            log.logger(), LogClients: true,
	})
	path := socketPath(t)
	listeners := []net.Listener{
		listen(t, "tcp", "127.0.0.1:0"), listen(t, "tcp", "[::1]:0"), listen(t, "tcp", "127.0.0.1:0"), listen(t, "unix", path),
	}
	serve(t, p, listeners...)
	for _, ln := range listeners {
		name, config := ln.Addr(), withHeader(nil)
		switch {
		case name.Network() == "unix":
			name = &net.UnixAddr{Name: "unix:1", Net: "unix"}
			config.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", path)
			}
		case name.(*net.TCPAddr).IP.To4() == nil:
			config = withHeader(header(2, "[2001:db8::5]:4321"))
		}
		for _, m := range mtwiretest.ProxiedModes() {
			conn, err := mtwire.Dial(short(t), m.Endpoint(name), config)
			if err != nil {
				t.Fatal(ln.Addr(), err)
			}
			for _, blocks := range []int{3, 30000, 7} {
				echo(t, conn, blocks)
			}
			conn.Close()
		}
	}
	eventually(t, "all sessions end", func() bool { return p.Stats().Open == 0 })
	for what, want := range map[string]int{"client=127.0.0.1:": 10, "msg=closed": 20, "client=[2001:db8::5]:4321": 5} {
		if n := len(log.closed(what)); n != want {
			t.Errorf("%d lines with %s, want %d", n, what, want)
		}
	}
}
