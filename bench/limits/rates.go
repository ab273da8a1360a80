package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/service/users"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/obfuscation"
	"github.com/mtwire/mtwire/proxy"
)

// rateCase is a rate that the connections of one user share.
type rateCase struct {
	name        string
	limit       int64 // bytes a second
	connections int
	share       float64 // of the rate that was reached
	least, most float64 // of an equal share that a connection had
}

// minRateShare and maxRateShare are the targets.
const minRateShare, maxRateShare = 0.95, 1.05

// measureRates measures how much of a rate downloads reach over real sockets, and prints
// a line for each case. The slow ones run at the same time.
func measureRates(check bool) error {
	var slow, fast []*rateCase
	for _, limit := range []int64{64 << 10, 1 << 20, 10 << 20, 100 << 20} {
		for _, connections := range []int{1, 50} {
			c := &rateCase{name: fmt.Sprintf("%d-%d", limit>>10, connections), limit: limit, connections: connections}
			if limit > 1<<20 {
				fast = append(fast, c)
			} else {
				slow = append(slow, c)
			}
		}
	}
	all := append(slow, fast...)
	address, stop, err := serveRates(all)
	if err != nil {
		return err
	}
	defer stop()
	failed := make([]error, len(all))
	var running sync.WaitGroup
	for i := range slow {
		running.Go(func() { failed[i] = all[i].measure(i, address) })
	}
	running.Wait()
	for i := len(slow); i < len(all); i++ {
		failed[i] = all[i].measure(i, address)
	}
	missed := 0
	fmt.Printf("%12s %12s %10s %24s\n", "KiB a second", "connections", "reached", "of an equal share")
	for _, c := range all {
		verdict := ""
		if c.share < minRateShare || c.share > maxRateShare {
			missed++
			verdict = "  missed"
		}
		fmt.Printf("%12d %12d %8.1f %% %12.2f to %8.2f%s\n", c.limit>>10, c.connections, c.share*100, c.least, c.most, verdict)
	}
	if missed > 0 && check {
		failed = append(failed, fmt.Errorf("%d targets are missed", missed))
	}
	return errors.Join(failed...)
}

// serveRates starts a proxy with a user for each case, and a data centre that sends
// without end.
func serveRates(cases []*rateCase) (address string, stop func(), err error) {
	dc, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		dc.Close()
		return "", nil, err
	}
	go func() {
		for {
			conn, err := dc.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for b := make([]byte, 64<<10); ; {
					if _, err := conn.Write(b); err != nil {
						return
					}
				}
			}()
		}
	}()
	policy := users.New(users.Config{Log: slog.New(slog.DiscardHandler)})
	var list []users.User
	for i, c := range cases {
		list = append(list, users.User{Name: c.name, Secrets: []mtproxy.Secret{secretOf(i)}, Limits: users.Limits{RateDown: c.limit}})
	}
	policy.Set(list)
	p, err := proxy.New(proxy.Config{
		Users: users.Proxies(list), Policy: policy, Log: slog.New(slog.DiscardHandler),
		DataCenters: map[datacenter.DC][]string{0: {dc.Addr().String()}},
	})
	if err != nil {
		return "", nil, err
	}
	go p.Serve(context.Background(), ln)
	return ln.Addr().String(), func() { p.Close(); dc.Close() }, nil
}

// measure downloads over all connections: until each has had its first reads, and then
// for long enough that one read more or less does not count.
func (c *rateCase) measure(user int, address string) error {
	round := time.Duration(c.connections*(16<<10)) * time.Second / time.Duration(c.limit)
	counts := make([]atomic.Int64, c.connections)
	for i := range counts {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return err
		}
		defer conn.Close()
		key := secretOf(user).Key
		init, _, err := obfuscation.NewInit(&obfuscation.ClientConfig{Protocol: frame.Intermediate, DC: 2, Key: &key})
		if err != nil {
			return err
		}
		if _, err := conn.Write(init[:]); err != nil {
			return err
		}
		go func() {
			io.Copy(&counter{&counts[i]}, conn)
		}()
	}
	time.Sleep(2*round + time.Second)
	for i := range counts {
		counts[i].Store(0)
	}
	start := time.Now()
	time.Sleep(max(2*round, 8*time.Second))
	took := time.Since(start).Seconds()
	total := int64(0)
	each := float64(c.limit) * took / float64(c.connections)
	for i := range counts {
		n := counts[i].Load()
		total += n
		if share := float64(n) / each; i == 0 {
			c.least, c.most = share, share
		} else {
			c.least, c.most = min(c.least, share), max(c.most, share)
		}
	}
	c.share = float64(total) / (float64(c.limit) * took)
	fmt.Fprintf(os.Stderr, "%s: %.1f %%\n", c.name, c.share*100)
	return nil
}

// counter counts what is written to it.
type counter struct{ n *atomic.Int64 }

func (c *counter) Write(b []byte) (int, error) {
	c.n.Add(int64(len(b)))
	return len(b), nil
}
