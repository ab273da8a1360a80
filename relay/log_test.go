package relay_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/relay"
)

// A crowd of clients that no server answers has a record for some, and their number.
func TestRecordsOfFailedSessionsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(logLines)
		r, err := relay.New(relay.Config{
			To: []mtwire.Endpoint{{Address: "192.0.2.1:443"}, {Address: "192.0.2.2:443"}}, Log: log.logger(),
			Dial: &mtwire.DialConfig{DialContext: func(context.Context, string, string) (net.Conn, error) {
				return nil, errors.New("refused")
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
		fail := func() {
			ours, theirs := net.Pipe()
			client, err := mtwire.Client(t.Context(), theirs, mtwire.Endpoint{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			go client.Send(t.Context(), message(echo, 16))
			r.Handle(t.Context(), mtwire.Server(ours, nil))
			client.Close()
		}
		const text = "not relayed to its end"
		for range 200 {
			fail()
		}
		if n := strings.Count(log.String(), text); n != 60 {
			t.Errorf("%d records of 200 sessions", n)
		}
		if !strings.Contains(log.String(), `err="no server answers: `) {
			t.Error(log)
		}
		time.Sleep(time.Minute)
		fail()
		if n := strings.Count(log.String(), text); n != 61 || !strings.Contains(log.String(), "unlogged_before=140") {
			t.Errorf("%d records, %v", n, log)
		}
	})
}

// A client with a wrong secret has a record, and one that leaves without a byte has none.
func TestAClientWithAWrongSecretIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(logLines)
		r, err := relay.New(relay.Config{To: []mtwire.Endpoint{{Address: "192.0.2.1:443"}}, Log: log.logger()})
		if err != nil {
			t.Fatal(err)
		}
		right, err := mtwire.ParseSecret(secrets[1])
		if err != nil {
			t.Fatal(err)
		}
		wrong := right
		wrong.Key[0]++
		connect := func(sends bool) {
			ours, theirs := net.Pipe()
			if sends {
				client, err := mtwire.Client(t.Context(), theirs, mtwire.Endpoint{Secret: wrong, Obfuscated: true}, nil)
				if err != nil {
					t.Fatal(err)
				}
				go client.Send(t.Context(), message(echo, 16))
			} else {
				time.AfterFunc(time.Second, func() { theirs.Close() })
			}
			r.Handle(t.Context(), mtwire.Server(ours, &mtwire.ListenConfig{Secrets: []mtwire.Secret{right}}))
			theirs.Close()
		}
		connect(false)
		if log.String() != "" {
			t.Error(log)
		}
		connect(true)
		const text = `level=INFO msg="a client is not authenticated" client=pipe err="no secret matches`
		if strings.Count(log.String(), text) != 1 {
			t.Error(log)
		}
	})
}

// A shutdown is an end like any other.
func TestAShutdownIsNoFailure(t *testing.T) {
	log := new(logLines)
	r, err := relay.New(relay.Config{To: []mtwire.Endpoint{endpoint(t, "tcp://HOST:PORT", listen(t, nil, serve))}, Log: log.logger()})
	if err != nil {
		t.Fatal(err)
	}
	ln := socket(t, "tcp", "127.0.0.1:0")
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan error, 1)
	go func() { done <- mtwire.NewListener(ln, nil).Serve(ctx, r.Handle) }()
	client, err := mtwire.Dial(t.Context(), "ws://"+ln.Addr().String()+"/apiws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if !answers(t, client) {
		t.Error("no answer")
	}
	go client.Receive(t.Context())
	cancel(errors.New("terminated"))
	<-done
	if !strings.Contains(log.String(), "msg=relayed ") || strings.Contains(log.String(), "level=WARN") {
		t.Error(log)
	}
}

// An endpoint that leads back to the relay, over any carrier, costs a client one connection,
// and the next endpoint serves it.
func TestAnEndpointThatLeadsBackIsNoticed(t *testing.T) {
	for _, format := range []string{
		"tcp://HOST:PORT", "ws://HOST:PORT/apiws", "http://HOST:PORT/api",
		"tg://proxy?server=HOST&port=PORT&secret=" + secrets[1], "tg://proxy?server=HOST&port=PORT&secret=" + secrets[2],
	} {
		log, ln := new(logLines), socket(t, "tcp", "127.0.0.1:0")
		r, err := relay.New(relay.Config{Log: log.logger(), To: []mtwire.Endpoint{
			endpoint(t, format, ln.Addr().String()), endpoint(t, "tcp://HOST:PORT", listen(t, nil, serve)),
		}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- mtwire.NewListener(ln, listenAll(t)).Serve(ctx, r.Handle) }()
		for range 3 {
			client, err := mtwire.Dial(t.Context(), "tcp://"+ln.Addr().String(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if !answers(t, client) {
				t.Errorf("%s: no answer", format)
			}
			client.Close()
		}
		for r.Stats().Open > 0 {
			time.Sleep(time.Millisecond)
		}
		if stats := r.Stats(); stats.Served != 3 || stats.Failed != 0 || strings.Count(log.String(), "leads back to this relay") != 1 {
			t.Errorf("%s: %+v, %v", format, stats, log)
		}
		cancel()
		<-done
	}
}

// What a server sends is no more than a part of a record, however long it is.
func TestRecordsQuoteLittle(t *testing.T) {
	bad := rawServer(t, func(conn net.Conn) {
		http.ReadRequest(bufio.NewReader(conn))
		io.WriteString(conn, strings.Repeat("garbage\x1b", 1000)+"\r\n\r\n")
		io.Copy(io.Discard, conn)
	})
	for _, format := range []string{"ws://HOST:PORT/apiws", "http://HOST:PORT/api"} {
		log := new(logLines)
		address, r := start(t, relay.Config{Log: log.logger(), To: []mtwire.Endpoint{endpoint(t, format, bad)}}, nil)
		client, err := mtwire.Dial(t.Context(), "tcp://"+address, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if answers(t, client) {
			t.Error("an answer")
		}
		for r.Stats().Failed == 0 {
			time.Sleep(time.Millisecond)
		}
		for line := range strings.Lines(log.String()) {
			if len(line) > 800 {
				t.Errorf("%s: a record of %d bytes: %.300s", format, len(line), line)
			}
		}
		if !strings.Contains(log.String(), "malformed HTTP") {
			t.Error(log)
		}
	}
}
