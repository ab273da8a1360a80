package probe

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"time"

	"github.com/mtwire/mtwire/interop/probes/h2"
	"github.com/mtwire/mtwire/interop/probes/site"
	"github.com/mtwire/mtwire/interop/probes/tlswire"
)

// dialogueTimeout bounds the part of a dialogue that needs answers.
const dialogueTimeout = 10 * time.Second

// dialogueProbes make a whole TLS handshake, as a browser does.
func dialogueProbes() (all []Probe) {
	get := func(path, more string) string {
		return "GET " + path + " HTTP/1.1\r\nHost: example.com\r\n" + more + "\r\n"
	}
	h1 := func(name string, version uint16, requests ...string) {
		all = append(all, Probe{Name: "dialogue/" + name, MergeRecords: true, Converse: func(ctx context.Context, conn net.Conn, _ *Env) (string, error) {
			return converseHTTP1(ctx, conn, version, requests)
		}})
	}
	h1("get-close", tls.VersionTLS13, get(site.SmallPage, "Connection: close\r\n"))
	h1("get-then-idle", tls.VersionTLS13, get(site.SmallPage, ""))
	h1("get-twice", tls.VersionTLS13, get(site.SmallPage, ""), get("/nothing", "Connection: close\r\n"))
	h1("get-large", tls.VersionTLS13, get(site.LargePage, "Connection: close\r\n"))
	h1("tls12-get-then-idle", tls.VersionTLS12, get(site.SmallPage, ""))
	h1("bad-request", tls.VersionTLS13, "FROB\r\n\r\n")
	h1("post", tls.VersionTLS13, "POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 3\r\nConnection: close\r\n\r\na=b")
	h1("websocket", tls.VersionTLS13, get("/apiws", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"))

	after := func(name string, act func(raw net.Conn, client *tls.Conn) error) {
		all = append(all, Probe{Name: "dialogue/" + name, MergeRecords: true, Converse: func(ctx context.Context, conn net.Conn, _ *Env) (string, error) {
			client, transcript, err := handshake(ctx, conn, &tls.Config{NextProtos: []string{"http/1.1"}})
			if err != nil {
				return transcript, err
			}
			return transcript, act(conn, client)
		}})
	}
	after("idle", func(net.Conn, *tls.Conn) error { return nil })
	after("half-request", func(_ net.Conn, client *tls.Conn) error {
		_, err := io.WriteString(client, get(site.SmallPage, "")[:20])
		return err
	})
	after("close-notify", func(_ net.Conn, client *tls.Conn) error { return client.CloseWrite() })
	after("fin", func(raw net.Conn, _ *tls.Conn) error { return raw.(*recorder).CloseWrite() })
	after("garbage", func(raw net.Conn, _ *tls.Conn) error {
		_, err := raw.Write(bytesOf("garbage", 100))
		return err
	})
	after("bad-record", func(raw net.Conn, _ *tls.Conn) error {
		_, err := raw.Write(record(tlswire.TypeData, 0x0303, string(bytesOf("data", 53))))
		return err
	})
	return append(all,
		Probe{Name: "dialogue/h2-get-then-idle", OnlyTranscript: true, Converse: converseHTTP2},
		Probe{Name: "dialogue/resume", MergeRecords: true, Parallel: true, Converse: converseResumed},
	)
}

// handshake makes a TLS handshake, and describes its result.
func handshake(ctx context.Context, conn net.Conn, config *tls.Config) (client *tls.Conn, transcript string, err error) {
	config.ServerName, config.InsecureSkipVerify = site.Domain, true
	client = tls.Client(conn, config)
	if err := client.HandshakeContext(ctx); err != nil {
		return nil, "", fmt.Errorf("handshake: %w", withoutPorts(err))
	}
	state := client.ConnectionState()
	return client, fmt.Sprintf("%s %s %q resumed=%v\n", tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite),
		state.NegotiatedProtocol, state.DidResume), nil
}

// withoutPorts drops the addresses from an error of package net.
func withoutPorts(err error) error {
	for {
		op, ok := err.(*net.OpError)
		if !ok {
			return err
		}
		err = op.Err
	}
}

func converseHTTP1(ctx context.Context, conn net.Conn, version uint16, requests []string) (string, error) {
	client, transcript, err := handshake(ctx, conn, &tls.Config{NextProtos: []string{"http/1.1"}, MinVersion: version, MaxVersion: version})
	if err != nil {
		return "", err
	}
	answers := bufio.NewReader(client)
	for _, request := range requests {
		if _, err := io.WriteString(client, request); err != nil {
			return transcript, withoutPorts(err)
		}
		response, err := http.ReadResponse(answers, nil)
		if err != nil {
			return transcript, withoutPorts(err)
		}
		text, err := describeResponse(response)
		transcript += text
		if err != nil {
			return transcript, withoutPorts(err)
		}
	}
	return transcript, nil
}

// describeResponse returns a response without its date.
func describeResponse(response *http.Response) (string, error) {
	header, err := httputil.DumpResponse(response, false)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(response.Body)
	response.Body.Close()
	return strings.Join(tlswire.Describe(append(header, body...), nil), "\n") + "\n", err
}

// converseHTTP2 makes one request. Afterwards it takes no part.
func converseHTTP2(ctx context.Context, conn net.Conn, _ *Env) (string, error) {
	client, transcript, err := handshake(ctx, conn, &tls.Config{NextProtos: []string{"h2"}})
	if err != nil {
		return "", err
	}
	if client.ConnectionState().NegotiatedProtocol != "h2" {
		return transcript, nil
	}
	answer, err := h2.New(client, site.Domain).Get(site.SmallPage)
	if err != nil {
		return transcript, withoutPorts(err)
	}
	for _, setting := range answer.Settings {
		transcript += fmt.Sprintf("%v\n", setting)
	}
	for _, field := range answer.Fields {
		if field.Name != "date" {
			transcript += fmt.Sprintf("%s: %s\n", field.Name, field.Value)
		}
	}
	return transcript + fmt.Sprintf("%q\n", answer.Body), nil
}

// converseResumed makes a connection for the sake of its ticket, and one with it.
func converseResumed(ctx context.Context, conn net.Conn, _ *Env) (string, error) {
	config := &tls.Config{NextProtos: []string{"http/1.1"}, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	const request = "GET " + site.SmallPage + " HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n"
	first, err := (&net.Dialer{}).DialContext(ctx, "tcp", conn.RemoteAddr().String())
	if err != nil {
		return "", withoutPorts(err)
	}
	defer first.Close()
	exchange := func(conn net.Conn) (transcript string, err error) {
		client, transcript, err := handshake(ctx, conn, config)
		if err != nil {
			return "", err
		}
		if _, err := io.WriteString(client, request); err != nil {
			return transcript, withoutPorts(err)
		}
		response, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil {
			return transcript, withoutPorts(err)
		}
		text, err := describeResponse(response)
		return transcript + text, withoutPorts(err)
	}
	before, err := exchange(first)
	if err != nil {
		return before, err
	}
	after, err := exchange(conn)
	return before + after, err
}
