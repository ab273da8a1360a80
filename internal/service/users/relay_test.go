package users

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/obfuscation"
	"github.com/mtwire/mtwire/proxy"
)

// floodingDataCenter starts a data centre that sends without end, and returns its
// address.
func floodingDataCenter(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(loopback.Serve(ln, func(conn net.Conn) {
		var err error
		for b := make([]byte, 64<<10); err == nil; {
			_, err = conn.Write(b)
		}
	}))
	return ln.Addr().String()
}

// download returns the number of bytes that a client of key has downloaded.
func download(t *testing.T, address string, key [16]byte) *atomic.Int64 {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	init, _, err := obfuscation.NewInit(&obfuscation.ClientConfig{Protocol: frame.Intermediate, DC: 2, Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(init[:]); err != nil {
		t.Fatal(err)
	}
	n := new(atomic.Int64)
	go io.Copy(counter{n}, conn)
	return n
}

type counter struct{ *atomic.Int64 }

func (c counter) Write(b []byte) (int, error) {
	c.Add(int64(len(b)))
	return len(b), nil
}

// Over real sockets, the connections of a user have its rate together, one or many, and
// those of a user without a limit are not held up beside them. bench/limits has the
// figures: a test that runs beside others has no lower bound worth its name.
func TestConnectionsHaveTheirRateTogether(t *testing.T) {
	const limit = 2 << 20
	policy := newPolicy(
		User{Name: "one", Secrets: proxySecrets(1), Limits: Limits{RateDown: limit}},
		User{Name: "many", Secrets: proxySecrets(2), Limits: Limits{RateDown: limit}},
		User{Name: "free", Secrets: proxySecrets(3)},
	)
	var list []proxy.User
	for i, name := range []string{"one", "many", "free"} {
		secret := secretOf(uint64(i + 1))
		secret.Mode = mtproxy.Plain
		list = append(list, proxy.User{Name: name, Secrets: []mtproxy.Secret{secret}})
	}
	p, err := proxy.New(proxy.Config{
		Users: list, Policy: policy, Log: slog.New(slog.DiscardHandler),
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

	address := ln.Addr().String()
	start := time.Now()
	one := []*atomic.Int64{download(t, address, secretOf(1).Key)}
	var many []*atomic.Int64
	for range 20 {
		many = append(many, download(t, address, secretOf(2).Key))
	}
	free := download(t, address, secretOf(3).Key)
	sum := func(counts []*atomic.Int64) (n int64) {
		for _, c := range counts {
			n += c.Load()
		}
		return n
	}
	// Each has some bytes, and the rate's for two seconds are there.
	deadline := start.Add(time.Minute)
	for sum(one) < 2*limit || sum(many) < 2*limit || free.Load() < 4*limit {
		if time.Now().After(deadline) {
			t.Fatalf("%d, %d and %d bytes in a minute", sum(one), sum(many), free.Load())
		}
		time.Sleep(time.Millisecond)
	}
	came := map[string]int64{"one": sum(one), "many": sum(many)}
	took := time.Since(start).Seconds() // not earlier: more comes meanwhile
	for name, counts := range map[string][]*atomic.Int64{"one": one, "many": many} {
		n := came[name]
		const oneRead = 0.1                                                                 // seconds: what is moved before the pause for it, see package splice
		most := int64(limit*(took+burst.Seconds()+oneRead)) + int64(len(counts))*(2*16<<10) // the first reads
		usage := usageOf(t, policy, name)
		for ; usage.Down < n && time.Now().Before(deadline); usage = usageOf(t, policy, name) {
			time.Sleep(time.Millisecond) // bytes count once the call that has written them is back
		}
		if n > most || usage.Down < n || usage.Connections != len(counts) {
			t.Errorf("%s: %d bytes in %.2f s, want %d at most; %+v", name, n, took, most, usage)
		}
		for i, c := range counts {
			if c.Load() == 0 {
				t.Errorf("%s: connection %d has nothing", name, i)
			}
		}
	}
}
