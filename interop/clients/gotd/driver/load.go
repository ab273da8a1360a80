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
	// When a quarter of the time is over, and when three are, the data centre
	// cuts one of cutOneIn connections. In between it is restarted, and away
	// for a moment.
	cutOneIn = 10
	outage   = time.Second

	shortLoad = 10 * time.Second
	fullLoad  = time.Minute

	// A key exchange costs gotd's client a second of processor time, for it
	// checks anew that the prime is one. So many are made at a time that none
	// takes too long.
	exchanges = 4

	// recovery is how long a call may take, with all its tries.
	recovery = 20 * time.Second
	// pause is between two calls of a client, at most.
	pause = 200 * time.Millisecond
)

// loadRun is a load: a data centre of our own, and clients of it.
type loadRun struct {
	resolver dcs.Resolver
	key      exchange.PrivateKey
	duration time.Duration

	exchanging chan struct{}  // has room for those who make an auth key
	coming     sync.WaitGroup // those who have no session yet
	started    chan struct{}  // closed when all have one
	back       chan struct{}  // closed when the data centre is back

	mu   sync.Mutex
	open map[*mtwire.Conn]context.CancelFunc // the data centre's connections

	replies, retries, cut, connections atomic.Int64
}

// load runs a data centre at INTEROP_DATA_CENTER, and so many clients that
// have whole sessions with it: an auth key, a session, and then calls with
// answers that are told apart. Connections are cut from the data centre's
// side, and once all of them, when it is restarted. Every session has to go on.
func load(ctx context.Context, resolver dcs.Resolver, clients int, duration time.Duration) error {
	rsaKey, err := rsa.GenerateKey(rand.Reader, crypto.RSAKeyBits)
	if err != nil {
		return err
	}
	l := &loadRun{
		resolver: resolver, key: tgtest.NewPrivateKey(rsaKey), duration: duration,
		exchanging: make(chan struct{}, exchanges), started: make(chan struct{}), back: make(chan struct{}),
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
	l.coming.Add(clients)
	for i := range clients {
		all.Go(func() {
			if err := l.client(ctx); err != nil {
				cancel(fmt.Errorf("client %d: %w", i, err))
			}
		})
	}
	all.Go(func() {
		l.coming.Wait()
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
	return l.unexplained(clients)
}

// unexplained says whether connections ended that nobody cut. There is one for
// each client, another for each after the restart, and one for each cut; two
// if the restart came while the client was on its way back.
func (l *loadRun) unexplained(clients int) error {
	opened, explained := l.connections.Load(), 2*int64(clients)+2*l.cut.Load()
	if opened > explained {
		return fmt.Errorf("%d connections were opened, and only %d are explained", opened, explained)
	}
	return nil
}

// serveTwice is a data centre that is restarted when half of the time is over.
// It keeps the auth keys, as a data centre does.
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
	close(l.back)
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

// cutSome cuts some of the connections: a quarter of the time after all have a
// session, or after the restart.
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

// client is one client. It ends when the load is over, and must have had an
// answer since the data centre came back.
func (l *loadRun) client(ctx context.Context) error {
	reconnect := func() backoff.BackOff {
		return backoff.NewExponentialBackOff(
			backoff.WithInitialInterval(100*time.Millisecond),
			backoff.WithMaxInterval(2*time.Second),
			backoff.WithMaxElapsedTime(0))
	}
	client := telegram.NewClient(1, "hash", gotd.Options(l.resolver, dcs.List{}, l.key.Public(), reconnect))
	l.exchanging <- struct{}{}
	leave := sync.OnceFunc(func() {
		<-l.exchanging
		l.coming.Done()
	})
	defer leave()
	return client.Run(ctx, func(ctx context.Context) error {
		leave()
		select {
		case <-l.started:
		case <-ctx.Done():
			return ctx.Err()
		}
		return l.calls(ctx, client)
	})
}

// calls makes calls until the load is over.
func (l *loadRun) calls(ctx context.Context, client *telegram.Client) error {
	until, sinceBack := time.Now().Add(l.duration), false
	for time.Now().Before(until) {
		select {
		case <-l.back:
			sinceBack = true
		default:
		}
		if err := l.call(ctx, client); err != nil {
			return err
		}
		time.Sleep(mathrand.N(pause))
	}
	if !sinceBack {
		return errors.New("no answer since the data centre was restarted")
	}
	return nil
}

// call asks for a document until there is an answer, which must be that one.
func (l *loadRun) call(ctx context.Context, client *telegram.Client) error {
	ctx, cancel := context.WithTimeout(ctx, recovery)
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
		time.Sleep(mathrand.N(pause))
	}
}
