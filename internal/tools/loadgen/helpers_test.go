package loadgen

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/proxy"
)

// testContext returns a context that ends after two minutes.
func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// listen returns a TCP listener on a free port of loopback.
func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// run calls serve until the test ends. It fails the test unless serve then returns
// context.Canceled.
func run(t *testing.T, serve func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-served:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("serve: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("serve does not return")
		}
	})
}

func startDataCenter(t *testing.T) *DataCenter {
	t.Helper()
	dc := NewDataCenter(listen(t))
	run(t, dc.Serve)
	return dc
}

// startProxy runs a proxy whose only data centre is at the address dc.
func startProxy(t *testing.T, secret, dc string) net.Addr {
	t.Helper()
	parsed, err := mtwire.ParseSecret(secret)
	if err != nil {
		t.Fatal(err)
	}
	p, err := proxy.New(proxy.Config{
		Users:       []proxy.User{{Secrets: []mtproxy.Secret{parsed}}},
		DataCenters: map[datacenter.DC][]string{0: {dc}},
		Log:         slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ln := listen(t)
	run(t, func(ctx context.Context) error { defer p.Close(); return p.Serve(ctx, ln) })
	return ln.Addr()
}

func startRawRelay(t *testing.T, dc *DataCenter) *Target {
	t.Helper()
	ln := listen(t)
	run(t, func(ctx context.Context) error { return ServeRaw(ctx, ln, dc.Addr().String()) })
	return &Target{Endpoint: direct(ln.Addr()), Processes: thisProcess()}
}

// direct returns the endpoint of a data centre at address, without a proxy.
func direct(address net.Addr) mtwire.Endpoint {
	return mtwire.Endpoint{Address: address.String(), Obfuscated: true, Protocol: mtwire.Intermediate, DC: 2}
}

func endpoint(t *testing.T, address net.Addr, query string) mtwire.Endpoint {
	t.Helper()
	ep, err := mtwire.ParseEndpoint("tcp://" + address.String() + "?" + query)
	if err != nil {
		t.Fatal(err)
	}
	return ep
}

// thisProcess returns this process's ID on systems where its cost can be measured.
func thisProcess() []int {
	if runtime.GOOS != "linux" {
		return nil
	}
	return []int{os.Getpid()}
}

// serveEach calls handle for every connection to the address that it returns.
func serveEach(t *testing.T, handle func(net.Conn)) net.Addr {
	t.Helper()
	ln := listen(t)
	run(t, func(ctx context.Context) error {
		return serve(ctx, ln, func(_ context.Context, conn net.Conn) { handle(conn) })
	})
	return ln.Addr()
}

// discard reads conn until it ends.
func discard(conn net.Conn) { io.Copy(io.Discard, conn) }
