package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"github.com/mtwire/mtwire/interop/process"
	"github.com/mtwire/mtwire/mtwiretest"
)

// environment is what one case runs against: a data centre, a proxy in front of
// it if the case has one, and a recorder in front of that.
type environment struct {
	dc       *process.Server // nil if the client brings its own
	proxy    *process.Server // nil if the case has none
	recorder *recorder
	upgrades *upgrades // nil if the case has none

	dataCenter string // the data centre's address
	url        string // for the client
}

// files are the names of files to which a data centre writes its RSA public key
// and its certificate, for clients to trust.
type files struct{ serverKey, certificate string }

func filesIn(dir string) files {
	return files{filepath.Join(dir, "server-key.pem"), filepath.Join(dir, "certificate.pem")}
}

// start starts a case's environment, whose files are in home.
func (p *plan) start(ctx context.Context, t testCase, home string) (e *environment, err error) {
	e = &environment{}
	f := filesIn(home)
	defer func() {
		if err != nil {
			e.stop()
		}
	}()
	proxied := t.Secret != "none" && t.Endpoint != endpointDC
	var secret []string
	if t.Secret != "none" {
		secret = []string{"--secret", secrets[t.Secret]}
	}
	switch t.Endpoint {
	case endpointOwn:
		e.dataCenter, err = freeAddress()
	case endpointSession:
		e.dc, err = process.StartServer(ctx, p.Gotd, "dc", f.serverKey, f.certificate)
	default:
		args := []string{"dc", "--json", "--listen", "127.0.0.1:0", "--certificate", f.certificate}
		if !proxied {
			args = append(args, secret...)
		}
		e.dc, err = process.StartServer(ctx, p.Mtwire, args...)
	}
	if err != nil {
		return e, err
	}
	if e.dc != nil {
		e.dataCenter = e.dc.Address
	}
	target := e.dataCenter
	if proxied {
		args := append([]string{"proxy", "--listen", "127.0.0.1:0", "--dc", "*=" + e.dataCenter, "--front", "127.0.0.1:1", "--probe=false", "--log-level", "debug"}, secret...)
		if t.Upgrades {
			e.upgrades, err = p.startUpgraded(ctx, e, home, args)
		} else {
			e.proxy, err = process.StartServer(ctx, p.Mtwire, args...)
		}
		if err != nil {
			return e, err
		}
		target = e.proxy.Address
	}
	if e.recorder, err = startRecorder(target); err != nil {
		return e, err
	}
	e.url = endpointURL(t, e.recorder.port())
	return e, nil
}

// endpointURL returns the URL for the client.
func endpointURL(t testCase, port int) string {
	if t.Secret != "none" {
		return fmt.Sprintf("tg://proxy?server=127.0.0.1&port=%d&secret=%s", port, secrets[t.Secret])
	}
	return fmt.Sprintf("%s://127.0.0.1:%d%s", t.Scheme, port, paths[t.Scheme])
}

// stop stops all servers of the environment. Their output stays readable.
func (e *environment) stop() {
	if e.recorder != nil {
		e.recorder.stop()
	}
	for _, server := range []*process.Server{e.proxy, e.dc} {
		if server != nil {
			server.Stop()
		}
	}
}

// logs returns the servers' output, to explain a case that failed.
func (e *environment) logs() string {
	var b strings.Builder
	if e.proxy != nil {
		fmt.Fprintf(&b, "mtwire proxy:\n%s\n", e.proxy.Stderr.Text())
	}
	if e.dc != nil {
		fmt.Fprintf(&b, "data centre:\n%s\n%s\n", e.dc.Stdout.Text(), e.dc.Stderr.Text())
	}
	return b.String()
}

// answered is a connection on which the data centre answered the first step of a
// key exchange.
type answered struct {
	connected mtwiretest.Event
	request   string
}

// firstAnswered returns the first such connection, nil if there is none.
func (e *environment) firstAnswered() (*answered, error) {
	events, err := e.events()
	if err != nil {
		return nil, err
	}
	connected := map[string]mtwiretest.Event{}
	for _, event := range events {
		switch {
		case event.Event == "connected":
			connected[event.Remote] = event
		case event.Event == "request" && event.Answer == "resPQ":
			return &answered{connected[event.Remote], event.Request}, nil
		}
	}
	return nil, nil
}

// accepted returns how many connections the data centre has reported.
func (e *environment) accepted() (n int, err error) {
	events, err := e.events()
	for _, event := range events {
		if event.Event == "connected" {
			n++
		}
	}
	return n, err
}

// events returns what the data centre has reported.
func (e *environment) events() (all []mtwiretest.Event, err error) {
	for line := range strings.Lines(e.dc.Stdout.Text()) {
		var event mtwiretest.Event
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			return nil, fmt.Errorf("the data centre printed %q: %w", line, err)
		}
		all = append(all, event)
	}
	return all, nil
}

// freeAddress returns an address with a free port. Its IP address is used for
// nothing else, so that no connection of another case takes the port meanwhile.
func freeAddress() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}
