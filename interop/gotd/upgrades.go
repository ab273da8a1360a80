package gotd

import (
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/gotd/td/exchange"
	"github.com/gotd/td/telegram/dcs"
	"github.com/gotd/td/tg"
)

// Transfer is what a client has moved while a proxy was upgraded.
type Transfer struct{ Calls, Bytes atomic.Int64 }

// UseThroughUpgrades runs gotd's client as Use does, and then calls upgrade a number of
// times, which must return when another process has taken over from the proxy. Meanwhile a
// request is in flight, and from the second time on the client uploads and downloads files
// of up to maxFile bytes and MaxFile bytes, back to back. After each upgrade, the request in flight must be
// answered, and further requests. All of it uses one connection.
func UseThroughUpgrades(ctx context.Context, resolver dcs.Resolver, list dcs.List, key exchange.PublicKey, maxFile, times int, upgrade func() error) (*Transfer, error) {
	t := &Transfer{}
	return t, use(ctx, resolver, list, key, func(ctx context.Context, api *tg.Client) error {
		for i := range times {
			if err := useAll(ctx, api, maxFile); err != nil {
				return err
			}
			during := upgrade
			if i > 0 {
				during = func() error { return t.moving(ctx, api, maxFile, upgrade) }
			}
			if err := inFlight(ctx, api, during); err != nil {
				return err
			}
		}
		return useAll(ctx, api, maxFile)
	})
}

// inFlight calls upgrade while a request is in flight, which is answered afterwards.
func inFlight(ctx context.Context, api *tg.Client, upgrade func() error) error {
	held := make(chan error, 1)
	go func() { held <- fetchString(ctx, api, heldLanguage, "in flight") }()
	if err := FetchDocument(ctx, api); err != nil { // the server has the request before by then
		return err
	}
	if err := upgrade(); err != nil {
		return err
	}
	select {
	case err := <-held:
		return fmt.Errorf("the request in flight has ended too early: %v", err)
	default:
	}
	if err := fetchString(ctx, api, releasingLanguage, "after it"); err != nil {
		return err
	}
	if err := <-held; err != nil {
		return fmt.Errorf("the request in flight: %w", err)
	}
	return nil
}

// moving moves files in both directions while upgrade runs.
func (t *Transfer) moving(ctx context.Context, api *tg.Client, maxFile int, upgrade func() error) error {
	moving, stop := context.WithCancel(ctx)
	defer stop()
	var all sync.WaitGroup
	failed := make(chan error, 2)
	move := func(size int, call func() error) {
		for moving.Err() == nil {
			if err := call(); err != nil {
				failed <- err
				return
			}
			t.Calls.Add(1)
			t.Bytes.Add(int64(size))
		}
	}
	all.Go(func() { move(2*maxFile, func() error { return sendAndFetch(ctx, api, maxFile) }) })
	all.Go(func() { move(MaxFile, func() error { return fetchDocument(ctx, api, mathrand.Int64(), MaxFile) }) })
	err := upgrade()
	stop()
	all.Wait()
	close(failed)
	return errors.Join(err, <-failed, <-failed)
}
