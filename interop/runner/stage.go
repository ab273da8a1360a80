package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"github.com/mtwire/mtwire/mtwiretest"
)

// stage is what one case is run against: a data centre, a proxy in front of it
// if one is wanted, and a tap in front of that. Each case has its own.
type stage struct {
	dc    *server // nil if the client brings it
	proxy *server // nil without one
	tap   *tap

	dataCenter string // its address
	url        string
}

// files are where a data centre tells clients what to trust.
type files struct{ serverKey, certificate string }

func filesIn(dir string) files {
	return files{filepath.Join(dir, "server-key.pem"), filepath.Join(dir, "certificate.pem")}
}

// set starts all that a case needs. What clients are to trust is written to
// the files.
func (p *plan) set(ctx context.Context, t testCase, f files) (s *stage, err error) {
	s = &stage{}
	defer func() {
		if err != nil {
			s.strike()
		}
	}()
	proxied := t.Secret != "none" && t.Endpoint != endpointDC
	var secret []string
	if t.Secret != "none" {
		secret = []string{"--secret", secrets[t.Secret]}
	}
	switch t.Endpoint {
	case endpointOwn:
		s.dataCenter, err = freeAddress()
	case endpointSession:
		s.dc, err = startServer(ctx, p.Gotd, "dc", f.serverKey, f.certificate)
	default:
		args := []string{"dc", "--json", "--listen", "127.0.0.1:0", "--certificate", f.certificate}
		if !proxied {
			args = append(args, secret...)
		}
		s.dc, err = startServer(ctx, p.Mtwire, args...)
	}
	if err != nil {
		return s, err
	}
	if s.dc != nil {
		s.dataCenter = s.dc.address
	}
	front := s.dataCenter
	if proxied {
		args := append([]string{"proxy", "--listen", "127.0.0.1:0", "--dc", "*=" + s.dataCenter, "--front", "127.0.0.1:1"}, secret...)
		if s.proxy, err = startServer(ctx, p.Mtwire, args...); err != nil {
			return s, err
		}
		front = s.proxy.address
	}
	if s.tap, err = startTap(front); err != nil {
		return s, err
	}
	s.url = endpointURL(t, s.tap.port())
	return s, nil
}

// endpointURL is what the client is told.
func endpointURL(t testCase, port int) string {
	if t.Secret != "none" {
		return fmt.Sprintf("tg://proxy?server=127.0.0.1&port=%d&secret=%s", port, secrets[t.Secret])
	}
	return fmt.Sprintf("%s://127.0.0.1:%d%s", t.Scheme, port, paths[t.Scheme])
}

// strike ends all that was started. What it said can be read afterwards.
func (s *stage) strike() {
	if s.tap != nil {
		s.tap.stop()
	}
	for _, server := range []*server{s.proxy, s.dc} {
		if server != nil {
			server.stop()
		}
	}
}

// logs is what the servers have to say about a case that failed.
func (s *stage) logs() string {
	var b strings.Builder
	if s.proxy != nil {
		fmt.Fprintf(&b, "mtwire proxy:\n%s\n", s.proxy.stderr.text())
	}
	if s.dc != nil {
		fmt.Fprintf(&b, "data centre:\n%s\n%s\n", s.dc.stdout.text(), s.dc.stderr.text())
	}
	return b.String()
}

// seen is a connection on which the data centre answered the first step of a
// key exchange.
type seen struct {
	connected mtwiretest.Event
	request   string
}

// evidence finds the first of them, nil if there is none.
func (s *stage) evidence() (*seen, error) {
	connected := map[string]mtwiretest.Event{}
	for line := range strings.Lines(s.dc.stdout.text()) {
		var e mtwiretest.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			return nil, fmt.Errorf("the data centre says %q: %w", line, err)
		}
		switch {
		case e.Event == "connected":
			connected[e.Remote] = e
		case e.Event == "request" && e.Answer == "resPQ":
			return &seen{connected[e.Remote], e.Request}, nil
		}
	}
	return nil, nil
}

// freeAddress is where nobody listens yet. It is an address that nothing else
// has, so that no connection of another case takes the port meanwhile.
func freeAddress() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}
