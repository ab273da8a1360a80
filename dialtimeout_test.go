package mtwire_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/httpconn"
	"github.com/mtwire/mtwire/mtwiretest"
)

// slowEndpoints need an answer before they carry packets, or a connection only.
var slowEndpoints = map[string]bool{ // true: the server's silence is enough
	"tcp://dc.example:443":                                     false,
	"ws://dc.example/apiws":                                    true,
	"wss://dc.example/apiws":                                   true,
	"http://dc.example/api":                                    false,
	"https://dc.example/api":                                   true,
	"tcp://dc.example:443?secret=" + mtwiretest.FakeTLSSecret:  true,
	"tcp://dc.example:443?secret=" + mtwiretest.PaddedSecret:   false,
	"tcp://dc.example:443?protocol=abridged&obfuscated=true":   false,
	"wss://dc.example/apiws?secret=" + mtwiretest.PaddedSecret: true,
}

// silent is a DialContext to a server that reads and sends nothing.
func silent(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	go io.Copy(io.Discard, server)
	return client, nil
}

// unreachable is a DialContext to an address that does not answer.
func unreachable(ctx context.Context, _, _ string) (net.Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// A network that drops packets, and a server that accepts and is silent, cost 15
// seconds by default. The error is a timeout, and not one of the caller's context.
func TestDialTimeoutLimitsEveryStep(t *testing.T) {
	for url, silence := range slowEndpoints {
		for name, dial := range map[string]mtwire.DialFunc{"unreachable": unreachable, "silent": silent} {
			if name == "silent" && !silence {
				continue
			}
			for want, timeout := range map[time.Duration]time.Duration{15 * time.Second: 0, time.Second: time.Second} {
				synctest.Test(t, func(t *testing.T) {
					start := time.Now()
					err := dialAndReceive(t.Context(), url, &mtwire.DialConfig{DialContext: dial, DialTimeout: timeout, TLS: &tls.Config{}})
					var timedOut net.Error
					if !errors.As(err, &timedOut) || !timedOut.Timeout() || !errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("%s, %s: %v", url, name, err)
					}
					if took := time.Since(start); took != want {
						t.Errorf("%s, %s: took %v, want %v", url, name, took, want)
					}
				})
			}
		}
	}
}

// The caller's context is as before, and a negative DialTimeout is none.
func TestContextEndsDialBeforeTheTimeout(t *testing.T) {
	for url := range slowEndpoints {
		if len(url) > 4 && url[:4] == "http" {
			continue // Dial does not connect
		}
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			start := time.Now()
			err := dialAndReceive(ctx, url, &mtwire.DialConfig{DialContext: unreachable, DialTimeout: -1})
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Hour {
				t.Errorf("%s: %v, after %v", url, err, time.Since(start))
			}
		})
	}
}

// dialAndReceive returns the error of Dial or, over HTTP, which connects when it sends,
// of Receive.
func dialAndReceive(ctx context.Context, url string, config *mtwire.DialConfig) error {
	conn, err := mtwire.Dial(ctx, url, config)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.Send(ctx, make([]byte, 40)); err != nil {
		return err
	}
	_, err = conn.Receive(ctx)
	return err
}

// A panic in a client's callback, which runs in a goroutine of net/http, fails a POST.
func TestPanicInAnHTTPClientsDialIsAPostError(t *testing.T) {
	panics := func(context.Context, string, string) (net.Conn, error) { panic("no table") }
	verify := &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(tls.ConnectionState) error { panic("no table") }}
	serverTLS, _, err := mtwiretest.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	address := startEcho(t, &mtwire.ListenConfig{TLS: serverTLS}).String()
	for url, config := range map[string]*mtwire.DialConfig{
		"http://dc.example": {DialContext: panics}, "https://dc.example": {DialContext: panics}, "https://" + address: {TLS: verify},
	} {
		var failed *httpconn.PostError
		if err := dialAndReceive(short(t), url, config); !errors.As(err, &failed) {
			t.Errorf("%s: %v", url, err)
		}
	}
}
