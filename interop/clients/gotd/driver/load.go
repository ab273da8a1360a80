package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/gotd/td/crypto"
	"github.com/gotd/td/exchange"
	"github.com/gotd/td/telegram"
	"github.com/gotd/td/telegram/dcs"
	"github.com/gotd/td/tgtest"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/interop/gotd"
)

const (
	// After a quarter of the time, and after three quarters, the data centre
	// cuts one of cutOneIn connections. After half of the time it is restarted,
	// and refuses connections for outage.
	cutOneIn = 10
	outage   = time.Second

	shortLoad = 10 * time.Second
	fullLoad  = time.Minute

	// exchanges is the number of key exchanges at the same time. Each takes
	// gotd's client a second of processor time, to check that the prime is one.
	exchanges = 4

	// callTimeout bounds a call with all its retries.
	callTimeout = 20 * time.Second
	// maxPause is the longest time between two calls of a client.
	maxPause = 200 * time.Millisecond
)

// loadRun is a load test: a data centre of its own, and clients.
type loadRun struct {
	resolver dcs.Resolver
	key      exchange.PrivateKey
	duration time.Duration

	exchanging chan struct{}  // semaphore of clients that create an auth key
	connecting sync.WaitGroup // clients that have no session yet
	started    chan struct{}  // closed when all have one
	restarted  chan struct{}  // closed when the data centre is restarted

	mu   sync.Mutex
	open map[*mtwire.Conn]context.CancelFunc // the data centre's connections

	replies, retries, cut, connections atomic.Int64
}

// load runs a data centre at INTEROP_DATA_CENTER and its clients. Each client
// creates an auth key, opens a session and makes calls, each of which has another
// answer. The data centre cuts some connections, and all when it is restarted.
// Every session must go on.
func load(ctx context.Context, resolver dcs.Resolver, clients int, duration time.Duration) error {
	rsaKey, err := rsa.GenerateKey(rand.Reader, crypto.RSAKeyBits)
	if err != nil {
		return err
	}
	l := &loadRun{
		resolver: resolver, key: tgtest.NewPrivateKey(rsaKey), duration: duration,
		exchanging: make(chan struct{}, exchanges), started: make(chan struct{}), restarted: make(chan struct{}),
		open: map[*mtwire.Conn]context.CancelFunc{},
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	var datacenter, all sync.WaitGroup
	datacenter.Go(func() {
		if err := l.serveTwice(ctx); err != nil {
			cancel(fmt.Errorf("the data centre: %w", err))
		}
	})
	l.connecting.Add(clients)
	for i := range clients {
		all.Go(func() {
			if err := l.client(ctx); err != nil {
				cancel(fmt.Errorf("client %d: %w", i, err))
			}
		})
	}
	all.Go(func() {
		l.connecting.Wait()
		close(l.started)
	})
	all.Wait()
	err = context.Cause(ctx)
	cancel(nil)
	datacenter.Wait()
	fmt.Printf("note: %d sessions, %d replies, %d calls tried again, %d of %d connections cut, 1 restart\n",
		clients, l.replies.Load(), l.retries.Load(), l.cut.Load(), l.connections.Load())
	if err != nil {
		return err
	}
	return l.checkConnections(clients)
}

// checkConnections returns an error if more connections were opened than cuts and
// the restart explain: one for each client, another for each after the restart,
// and one for each cut, or two if the restart interrupts the client's reconnect.
func (l *loadRun) checkConnections(clients int) error {
	opened, explained := l.connections.Load(), 2*int64(clients)+2*l.cut.Load()
	if opened > explained {
		return fmt.Errorf("%d connections were opened, and only %d are explained", opened, explained)
	}
	return nil
}

// serveTwice runs a data centre, and restarts it after half of the time. The data
// centre keeps its auth keys.
func (l *loadRun) serveTwice(ctx context.Context) error {
	datacenter := &gotd.DataCenter{Key: l.key}
	first, end := context.WithCancel(ctx)
	defer end()
	var timer sync.WaitGroup
	defer timer.Wait()
	timer.Go(func() {
		select {
		case <-l.started:
		case <-first.Done():
			return
		}
		select {
		case <-time.After(l.duration / 2):
			end()
		case <-first.Done():
		}
	})
	if err := l.serve(first, datacenter); err != nil || ctx.Err() != nil {
		return err
	}
	select {
	case <-time.After(outage):
	case <-ctx.Done():
		return nil
	}
	close(l.restarted)
	return l.serve(ctx, datacenter)
}

func (l *loadRun) serve(ctx context.Context, datacenter *gotd.DataCenter) error {
	ln, err := listen(os.Getenv("INTEROP_DATA_CENTER"), nil)
	if err != nil {
		return err
	}
	var cutter sync.WaitGroup
	defer cutter.Wait()
	cutter.Go(func() { l.cutSome(ctx) })
	err = ln.Serve(ctx, func(ctx context.Context, conn *mtwire.Conn) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		l.connections.Add(1)
		l.mu.Lock()
		l.open[conn] = cancel
		l.mu.Unlock()
		datacenter.Handle(ctx, conn)
		l.mu.Lock()
		delete(l.open, conn)
		l.mu.Unlock()
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// cutSome cuts some of the connections, a quarter of the time after all clients
// have a session, or after the restart.
func (l *loadRun) cutSome(ctx context.Context) {
	select {
	case <-l.started:
	case <-ctx.Done():
		return
	}
	select {
	case <-time.After(l.duration / 4):
	case <-ctx.Done():
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	left := (len(l.open) + cutOneIn - 1) / cutOneIn
	for _, cut := range l.open { // in no order
		if left--; left < 0 {
			return
		}
		l.cut.Add(1)
		cut()
	}
}

// client runs one client until the end of the load test. The client must get an
// answer after the restart.
func (l *loadRun) client(ctx context.Context) error {
	reconnect := func() backoff.BackOff {
		return backoff.NewExponentialBackOff(
			backoff.WithInitialInterval(100*time.Millisecond),
			backoff.WithMaxInterval(2*time.Second),
			backoff.WithMaxElapsedTime(0))
	}
	client := telegram.NewClient(1, "hash", gotd.Options(l.resolver, dcs.List{}, l.key.Public(), reconnect))
	l.exchanging <- struct{}{}
	connected := sync.OnceFunc(func() {
		<-l.exchanging
		l.connecting.Done()
	})
	defer connected()
	return client.Run(ctx, func(ctx context.Context) error {
		connected()
		select {
		case <-l.started:
		case <-ctx.Done():
			return ctx.Err()
		}
		return l.calls(ctx, client)
	})
}

// calls makes calls until the end of the load test.
func (l *loadRun) calls(ctx context.Context, client *telegram.Client) error {
	end, afterRestart := time.Now().Add(l.duration), false
	for time.Now().Before(end) {
		select {
		case <-l.restarted:
			afterRestart = true
		default:
		}
		if err := l.call(ctx, client); err != nil {
			return err
		}
		time.Sleep(mathrand.N(maxPause))
	}
	if !afterRestart {
		return errors.New("no answer after the restart of the data centre")
	}
	return nil
}

// call fetches a document, and retries until it gets an answer. The answer must
// belong to the request.
func (l *loadRun) call(ctx context.Context, client *telegram.Client) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for {
		err := gotd.FetchDocument(ctx, client.API())
		switch {
		case err == nil:
			l.replies.Add(1)
			return nil
		case errors.Is(err, gotd.ErrOtherAnswer):
			return err
		case ctx.Err() != nil:
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
		l.retries.Add(1)
		time.Sleep(mathrand.N(maxPause))
	}
}
