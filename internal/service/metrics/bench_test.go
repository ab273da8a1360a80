package metrics

import (
	"io"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/handshake"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/proxy"
)

// connect calls the hooks of one connection that is answered.
func connect(hooks *proxy.Trace) {
	hooks.Attempted(proxy.Attempt{DC: 2, Upstream: "direct", Duration: 20 * time.Millisecond})
	hooks.Answered(nil, proxy.Answer{DC: 2, Upstream: "direct", Waited: 50 * time.Millisecond})
	hooks.Closed(nil, proxy.Report{Stage: proxy.FirstByteDown, Mode: mtproxy.EE, DC: 2, Upstream: "direct", Err: io.EOF})
}

// Hooks allocate nothing, for clients that are answered and for those that are not
// authenticated.
func TestHooksDoNotAllocate(t *testing.T) {
	hooks := New(Config{}).Trace()
	rejected := proxy.Report{Stage: proxy.ClientBytes, Err: handshake.ErrNoMatch}
	if n := testing.AllocsPerRun(100, func() {
		connect(hooks)
		hooks.Closed(nil, rejected)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkConnection is what the hooks cost for each connection.
func BenchmarkConnection(b *testing.B) {
	hooks := New(Config{}).Trace()
	b.ReportAllocs()
	for b.Loop() {
		connect(hooks)
	}
}

// BenchmarkUnauthenticated is the same for a client without a secret.
func BenchmarkUnauthenticated(b *testing.B) {
	hooks := New(Config{}).Trace()
	rejected := proxy.Report{Stage: proxy.ClientBytes, Err: handshake.ErrNoMatch}
	b.ReportAllocs()
	for b.Loop() {
		hooks.Closed(nil, rejected)
	}
}
