package users

import (
	"context"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/obfuscation"
	"github.com/mtwire/mtwire/proxy"
)

// Over real sockets, a client that connects anew for each of its first reads, and ends its stream
// behind them, has no more than the rate: the proxy does not notice the end during a pause.
func TestAClientThatConnectsAnewHasItsRate(t *testing.T) {
	const limit = 1 << 20
	policy := newPolicy(User{Name: "one", Secrets: proxySecrets(1), Limits: Limits{RateDown: limit}})
	secret := secretOf(1)
	secret.Mode = mtproxy.Plain
	p, err := proxy.New(proxy.Config{
		Users: []proxy.User{{Name: "one", Secrets: []mtproxy.Secret{secret}}}, Policy: policy, Log: slog.New(slog.DiscardHandler),
		DataCenters: map[datacenter.DC][]string{0: {floodingDataCenter(t)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go p.Serve(context.Background(), ln)
	defer p.Close()

	start := time.Now()
	var came int64
	for came < 2*limit && time.Since(start) < time.Minute {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		init, _, err := obfuscation.NewInit(&obfuscation.ClientConfig{Protocol: frame.Intermediate, DC: 2, Key: &secret.Key})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(init[:]); err != nil {
			t.Fatal(err)
		}
		n, _ := io.CopyN(io.Discard, conn, firstBytes)
		came += n
		conn.Close()
	}
	took := time.Since(start).Seconds()
	if most := int64(limit*(took+burst.Seconds())) + freeBytes + 4*firstBytes; came == 0 || came > most {
		t.Errorf("%d bytes in %.2f s, want %d at most", came, took, most)
	}
}
