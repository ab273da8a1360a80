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
	"github.com/mtwire/mtwire/proxy"
)

func short(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// run calls serve until the test ends, and wants it to return then.
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
			t.Error("it does not stop")
		}
	})
}

func startDataCenter(t *testing.T) *DataCenter {
	t.Helper()
	dc := NewDataCenter(listen(t))
	run(t, dc.Serve)
	return dc
}

// startProxy runs a proxy that sends every client to one address.
func startProxy(t *testing.T, secret, dc string) net.Addr {
	t.Helper()
	parsed, err := mtwire.ParseSecret(secret)
	if err != nil {
		t.Fatal(err)
	}
	p, err := proxy.New(proxy.Config{
		Users:       []proxy.User{{Secret: parsed}},
		DataCenters: map[datacenter.DC][]string{0: {dc}},
		Log:         slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ln := listen(t)
	run(t, func(ctx context.Context) error { return p.Serve(ctx, ln) })
	return ln.Addr()
}

func startRaw(t *testing.T, dc *DataCenter) *Target {
	t.Helper()
	ln := listen(t)
	run(t, func(ctx context.Context) error { return ServeRaw(ctx, ln, dc.Addr().String()) })
	return &Target{Endpoint: direct(ln.Addr()), Processes: thisProcess()}
}

// direct is the way to a data centre without a proxy.
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

// thisProcess is what there is to measure here, where that is possible.
func thisProcess() []int {
	if runtime.GOOS != "linux" {
		return nil
	}
	return []int{os.Getpid()}
}

// silent takes connections and does with each what it is told.
func silent(t *testing.T, handle func(net.Conn)) net.Addr {
	t.Helper()
	ln := listen(t)
	run(t, func(ctx context.Context) error {
		return serve(ctx, ln, func(_ context.Context, conn net.Conn) { handle(conn) })
	})
	return ln.Addr()
}

// swallow reads to the end.
func swallow(conn net.Conn) { io.Copy(io.Discard, conn) }
