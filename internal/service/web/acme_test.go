package web

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// oldCertificates is an ACME server that asks for no challenge, and whose certificates
// are nearly over.
func oldCertificates(t *testing.T, orders *atomic.Int32) *httptest.Server {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var server *httptest.Server
	var chain []byte
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Replay-Nonce", "n")
		w.Header().Set("Location", server.URL+"/order")
		order := func(status string) {
			fmt.Fprintf(w, `{"status":%q,"finalize":"%s/finalize","certificate":"%[2]s/certificate"}`, status, server.URL)
		}
		switch r.URL.Path {
		case "/":
			fmt.Fprintf(w, `{"newNonce":"%s/nonce","newAccount":"%[1]s/account","newOrder":"%[1]s/new"}`, server.URL)
		case "/account":
			w.WriteHeader(http.StatusCreated)
			fmt.Fprint(w, `{"status":"valid"}`)
		case "/new":
			orders.Add(1)
			w.WriteHeader(http.StatusCreated)
			order("ready")
		case "/order":
			order("ready")
		case "/finalize":
			var message struct{ Payload string }
			json.NewDecoder(r.Body).Decode(&message)
			payload, _ := base64.RawURLEncoding.DecodeString(message.Payload)
			var request struct{ CSR string }
			json.Unmarshal(payload, &request)
			der, _ := base64.RawURLEncoding.DecodeString(request.CSR)
			csr, err := x509.ParseCertificateRequest(der)
			if err != nil {
				t.Error(err)
				return
			}
			template := &x509.Certificate{
				SerialNumber: big.NewInt(1), DNSNames: csr.DNSNames,
				NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Minute),
			}
			if der, err = x509.CreateCertificate(rand.Reader, template, template, csr.PublicKey, key); err != nil {
				t.Error(err)
			}
			chain = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
			order("valid")
		case "/certificate":
			w.Write(chain)
		}
	}))
	t.Cleanup(server.Close)
	return server
}

// A new certificate that is to be renewed at once, as after a clock was set wrong, is in
// force, and the next one is not requested before the time of a retry.
func TestACertificateThatIsDueAtOnceIsNotRequestedInALoop(t *testing.T) {
	var orders atomic.Int32
	server := oldCertificates(t, &orders)
	a, err := NewACME(ACMEConfig{Host: "proxy.example.com", Directory: server.URL + "/", Path: t.TempDir(), Log: discardLog})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		a.Run(t.Context())
	}()
	for range 6000 {
		if _, failure := a.State(); failure != nil || orders.Load() > 1 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	expires, failure := a.State()
	if failure == nil || !strings.Contains(failure.Error(), "clock") || expires.IsZero() || orders.Load() != 1 {
		t.Errorf("%v, expires %v after %d orders", failure, expires, orders.Load())
	}
	t.Cleanup(func() { <-ended })
}

// Only a hello that offers nothing but the protocol of ACME servers gets the challenge's
// certificate, or none: one that offers HTTP besides is a visitor's.
func TestAVisitorGetsTheSitesCertificateWhateverElseItOffers(t *testing.T) {
	a, site, challenge := &ACME{}, &tls.Certificate{}, &tls.Certificate{}
	a.current.Store(site)
	for _, now := range []*tls.Certificate{nil, challenge} {
		a.challenge.Store(now)
		for want, offer := range map[*tls.Certificate][]string{site: {"h2", ChallengeProtocol}, now: {ChallengeProtocol}} {
			if got, _ := a.Certificate(&tls.ClientHelloInfo{SupportedProtos: offer}); got != want {
				t.Errorf("%v: %p, want %p", offer, got, want)
			}
		}
	}
}
