//go:build js

// Page is the program that runs in the browser. It connects to the endpoints that
// its URL names, and posts the outcome: one line for each case, which ends with ok or
// an error.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall/js"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtwiretest"
)

func main() {
	query := js.Global().Get("URLSearchParams").New(js.Global().Get("location").Get("search"))
	get := func(name string) string { return query.Call("get", name).String() }
	var outcome strings.Builder
	run := func(name string, test func(ctx context.Context) error) {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		result := "ok"
		if err := test(ctx); err != nil {
			result = err.Error()
		}
		fmt.Fprintf(&outcome, "%s: %s\n", name, result)
	}
	for _, scheme := range []string{"ws", "wss"} {
		for _, protocol := range []string{"abridged", "intermediate", "padded-intermediate"} {
			url := get(scheme) + "?protocol=" + protocol
			run(scheme+", "+protocol, func(ctx context.Context) error { return exchange(ctx, url) })
		}
	}
	url := get("ws")
	run("receive ends with its context", func(ctx context.Context) error { return receiveAgain(ctx, url) })
	run("uploads are bounded", func(ctx context.Context) error { return upload(ctx, url) })
	run("many connections", func(ctx context.Context) error { return many(ctx, url) })
	run("transport error", func(ctx context.Context) error { return transportError(ctx, url) })
	run("the server closes", func(ctx context.Context) error { return closed(ctx, get("closing")) })
	run("nothing listens", func(ctx context.Context) error { return refused(ctx, get("refusing")) })
	run("another path", func(ctx context.Context) error { return refused(ctx, url+"/another") })
	run("dial ends with its context", func(ctx context.Context) error { return dialEnds(ctx, get("silent")) })
	js.Global().Call("report", outcome.String())
	select {} // the page is closed
}

// exchange requests a resPQ, and has messages of several lengths echoed.
func exchange(ctx context.Context, url string) error {
	conn, err := mtwire.Dial(ctx, url, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	var nonce [16]byte
	rand.Read(nonce[:])
	if err := conn.Send(ctx, mtwiretest.AppendReqPQ(nil, nonce, nil)); err != nil {
		return err
	}
	p, err := conn.Receive(ctx)
	if err != nil {
		return err
	}
	if err := mtwiretest.CheckResPQ(p.Payload, nonce); err != nil {
		return err
	}
	for _, n := range []int{8, 1000, 100_000, 3 << 20} {
		if err := echo(ctx, conn, n); err != nil {
			return fmt.Errorf("%d bytes: %w", n, err)
		}
	}
	return conn.Close()
}

// echo has n bytes echoed.
func echo(ctx context.Context, conn *mtwire.Conn, n int) error {
	data := make([]byte, n)
	rand.Read(data)
	message, _ := mtwiretest.Seal(data, frame.Client)
	if err := conn.Send(ctx, message); err != nil {
		return err
	}
	return receiveEcho(ctx, conn, data)
}

func receiveEcho(ctx context.Context, conn *mtwire.Conn, data []byte) error {
	p, err := conn.Receive(ctx)
	if err != nil {
		return err
	}
	got, _, err := mtwiretest.Open(p.Payload, frame.Server)
	if err == nil && !bytes.Equal(got, data) {
		err = errors.New("other bytes came back")
	}
	return err
}

// receiveAgain ends a Receive by its context, and then goes on.
func receiveAgain(ctx context.Context, url string) error {
	conn, err := mtwire.Dial(ctx, url, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	for range 3 {
		short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		_, err := conn.Receive(short)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("without a packet: %w", err)
		}
		if err := echo(ctx, conn, 1000); err != nil {
			return err
		}
	}
	return nil
}

// upload sends more than the browser may hold before it receives anything.
func upload(ctx context.Context, url string) error {
	conn, err := mtwire.Dial(ctx, url, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	const packets = 8
	data := make([]byte, 2<<20)
	rand.Read(data)
	message, _ := mtwiretest.Seal(data, frame.Client)
	sent := make(chan error, 1)
	go func() {
		for range packets {
			if err := conn.Send(ctx, message); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	for range packets {
		if err := receiveEcho(ctx, conn, data); err != nil {
			return err
		}
	}
	return <-sent
}

// many exchanges messages on several connections at once.
func many(ctx context.Context, url string) error {
	errs := make([]error, 20)
	var running sync.WaitGroup
	for i := range errs {
		running.Go(func() {
			conn, err := mtwire.Dial(ctx, url, nil)
			if err != nil {
				errs[i] = err
				return
			}
			defer conn.Close()
			for range 5 {
				errs[i] = errors.Join(errs[i], echo(ctx, conn, 5000))
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// transportError sends a message under an unknown key.
func transportError(ctx context.Context, url string) error {
	conn, err := mtwire.Dial(ctx, url, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.Send(ctx, bytes.Repeat([]byte{7}, 56)); err != nil {
		return err
	}
	_, err = conn.Receive(ctx)
	if e := new(mtwire.TransportError); !errors.As(err, &e) || e.Code != 404 {
		return fmt.Errorf("received %w", err)
	}
	return nil
}

// closed is about a server that closes after the first packet.
func closed(ctx context.Context, url string) error {
	conn, err := mtwire.Dial(ctx, url, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.Send(ctx, make([]byte, 40)); err != nil {
		return err
	}
	if _, err := conn.Receive(ctx); err != io.EOF {
		return fmt.Errorf("received %v", err)
	}
	if err := conn.Send(ctx, make([]byte, 40)); err == nil {
		return errors.New("a packet was sent after the end")
	}
	return nil
}

func refused(ctx context.Context, url string) error {
	conn, err := mtwire.Dial(ctx, url, nil)
	if err == nil {
		conn.Close()
		return errors.New("connected")
	}
	if ctx.Err() != nil {
		return err
	}
	return nil
}

// dialEnds is about a server that does not answer.
func dialEnds(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	conn, err := mtwire.Dial(ctx, url, nil)
	if err == nil {
		conn.Close()
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("dial: %v", err)
	}
	return nil
}
