// Package acme has mtwire's certificate from a real ACME server, Pebble of Let's Encrypt,
// on loopback.
package acme

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/internal/service"
	"github.com/mtwire/mtwire/interop/output"
	"github.com/mtwire/mtwire/mtproxy"
)

const host = "proxy.example.com"

// validity is how long Pebble's certificates are valid, in seconds. They are renewed when
// a third of it is left, which is more than a busy machine takes for an attempt that fails.
const validity = 12

// startDNS starts a DNS server in which every name has the address 127.0.0.1. Pebble asks
// it over TCP.
func startDNS(t *testing.T) (address string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{Listener: ln, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		answer := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			answer.Answer = []dns.RR{&dns.A{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.IPv4(127, 0, 0, 1),
			}}
		}
		w.WriteMsg(answer)
	})}
	go server.ActivateAndServe()
	t.Cleanup(func() { server.Shutdown() })
	return ln.Addr().String()
}

// startPebble starts an ACME server that looks for hosts on a port, and has this process
// trust it.
func startPebble(t *testing.T, port int) (server *httptest.Server, directory string) {
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	quiet := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	profiles := map[string]ca.Profile{"default": {Description: "short", ValidityPeriod: validity}}
	front := wfe.New(quiet, store, va.New(quiet, port, port, true, startDNS(t), store), ca.New(quiet, store, "", "ecdsa", 0, 1, profiles),
		nil, true, false, 1, 1)
	server = httptest.NewTLSServer(front.Handler())
	t.Cleanup(server.Close)
	roots := filepath.Join(t.TempDir(), "roots.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(roots, text, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", roots) // before the first connection of the process
	return server, server.URL + wfe.DirectoryPath
}

// start starts a proxy with a web site, and returns its log.
func start(t *testing.T, config service.Config) (log *output.Buffer, stop func()) {
	t.Helper()
	log = new(output.Buffer)
	s, err := service.New(config, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx, ctx) })
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			s.Close()
			running.Wait()
		})
	}
	t.Cleanup(stop)
	return log, stop
}

// serial returns the serial number of the certificate that visitors see, "" without one.
func serial(port string) string {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 20 * time.Second}, "tcp", port,
		&tls.Config{ServerName: host, InsecureSkipVerify: true})
	if err != nil {
		return ""
	}
	defer conn.Close()
	if leaf := conn.ConnectionState().PeerCertificates[0]; leaf.VerifyHostname(host) == nil {
		return leaf.SerialNumber.String()
	}
	return "of another host"
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in a minute: %s", what)
		}
	}
}

// The first run gets a certificate, which is renewed in time and kept for the next run. If
// the ACME server is down, the certificate from before goes on, and the log tells so.
func TestPebbleGivesAndRenewsTheCertificate(t *testing.T) {
	free, err := loopback.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	address, err := net.ResolveTCPAddr("tcp", free)
	if err != nil {
		t.Fatal(err)
	}
	pebble, directory := startPebble(t, address.Port)
	config := service.Default()
	config.Listen = []service.ListenAddress{{Network: "tcp4", Address: address.String()}}
	config.Secrets = []service.NamedSecret{{Name: "alice", Secret: mtproxy.Secret{Mode: mtproxy.Plain, Key: [16]byte{1}}}}
	config.Probe, config.LogConnections, config.State = false, false, filepath.Join(t.TempDir(), "state")
	config.Web, config.WebACMEDirectory, config.WebACMEEmail = host, directory, "admin@example.com"
	log, stop := start(t, config)

	first := ""
	defer func() { t.Log(log) }()
	eventually(t, "the first certificate", func() bool { first = serial(address.String()); return first != "" })
	eventually(t, "a renewed one", func() bool { return serial(address.String()) != first })
	pebble.Close()
	http.DefaultClient.CloseIdleConnections()
	eventually(t, "a failed renewal in the log", func() bool {
		return strings.Contains(log.String(), "the certificate is not renewed, the one before goes on")
	})
	last := serial(address.String())
	if last == "" || strings.Count(log.String(), "not renewed") != 1 {
		t.Errorf("certificate %q\n%s", last, log)
	}
	stop()

	for path, want := range map[string]os.FileMode{"acme": 0o700, "acme/account.pem": 0o600, "acme/" + host + ".pem": 0o600} {
		if info, err := os.Stat(filepath.Join(config.State, path)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	start(t, config)
	if again := serial(address.String()); again != last {
		t.Errorf("after a restart the certificate is %q, and was %q", again, last)
	}
}
