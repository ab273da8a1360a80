package web

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"
)

// A certificate from an ACME server (RFC 8555), which connects to the site's port 443 with
// the protocol acme-tls/1 to see that the host is ours (TLS-ALPN-01, RFC 8737). The
// account's key and the certificate are files of a directory.
//
// This is on acme.Client and not on package autocert beside it: that asks the server for a
// certificate whenever some hello comes, and does not report a renewal that fails.

// ChallengeProtocol is the protocol of ACME servers in Config.Protocols.
const ChallengeProtocol = acme.ALPNProto

// LetsEncrypt is the directory of the default ACME server.
const LetsEncrypt = acme.LetsEncryptURL

const (
	issueTime  = 5 * time.Minute // that one attempt takes at most
	firstRetry = 2 * time.Minute // after an attempt that has failed; it doubles
	lastRetry  = time.Hour       // Let's Encrypt allows five failures an hour
	// warnEvery limits the warnings of attempts that fail.
	warnEvery = 6 * time.Hour
	// mostSleep is how long Run sleeps at most: clocks are set.
	mostSleep = time.Hour
)

const (
	// maxAnswer limits the body of an answer of the server: chains of certificates have a few KiB.
	maxAnswer = 1 << 20
	// maxCause limits the text of an error, which has what the server sent, in bytes.
	maxCause = 1000
)

// ACMEConfig configures an ACME.
type ACMEConfig struct {
	Host      string       // of the certificate
	Directory string       // URL of the server's directory
	Email     string       // of the account, or ""
	Path      string       // of the directory for files
	Log       *slog.Logger // gets what happens
}

// ACME is a certificate that is got and renewed. To use it is to agree to the terms of the
// server. Its methods may be called concurrently.
type ACME struct {
	config    ACMEConfig
	current   atomic.Pointer[tls.Certificate]
	challenge atomic.Pointer[tls.Certificate] // while the server looks
	failure   atomic.Pointer[error]           // of the last attempt; nil if it succeeded

	retry time.Duration // firstRetry
}

// NewACME returns a certificate that may be in the directory from before. It changes
// nothing.
func NewACME(config ACMEConfig) (*ACME, error) {
	a := &ACME{config: config, retry: firstRetry}
	text, err := os.ReadFile(a.certificatePath())
	if errors.Is(err, fs.ErrNotExist) {
		return a, nil
	}
	if err != nil {
		return nil, err
	}
	loaded, err := tls.X509KeyPair(text, text)
	if err == nil {
		err = loaded.Leaf.VerifyHostname(config.Host)
	}
	if err != nil {
		config.Log.Warn("the kept certificate cannot be used, another one is requested", "file", a.certificatePath(), "error", err)
		return a, nil
	}
	a.current.Store(&loaded)
	return a, nil
}

func (a *ACME) certificatePath() string {
	return filepath.Join(a.config.Path, a.config.Host+".pem")
}

// errNoCertificate means that there is none yet.
var errNoCertificate = errors.New("there is no certificate yet")

// errDue means that a new certificate is to be renewed already.
var errDue = errors.New("the server's new certificate has a third of its time left at most: is this machine's clock right?")

// Certificate returns the certificate for a hello, or the answer to an ACME server's.
func (a *ACME) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	certificate := a.current.Load()
	if slices.Equal(hello.SupportedProtos, []string{acme.ALPNProto}) { // it offers no other
		certificate = a.challenge.Load()
	}
	if certificate == nil {
		return nil, errNoCertificate
	}
	return certificate, nil
}

// State returns when the certificate expires, the zero time if there is none, and why the
// last attempt to get one has failed, nil if it has not.
func (a *ACME) State() (expires time.Time, failure error) {
	if c := a.current.Load(); c != nil {
		expires = c.Leaf.NotAfter
	}
	if f := a.failure.Load(); f != nil {
		failure = *f
	}
	return expires, failure
}

// renewal returns when a certificate is to be renewed: when a third of its time is left.
func renewal(c *tls.Certificate) time.Time {
	if c == nil {
		return time.Time{}
	}
	return c.Leaf.NotAfter.Add(-c.Leaf.NotAfter.Sub(c.Leaf.NotBefore) / 3)
}

// Run gets the certificate and renews it until ctx ends. While that fails, the certificate
// from before goes on.
func (a *ACME) Run(ctx context.Context) {
	retry, failed, warned := a.retry, 0, time.Time{}
	for {
		sleep := time.Until(renewal(a.current.Load()))
		if sleep <= 0 {
			err := a.renew(ctx)
			switch {
			case ctx.Err() != nil:
				return
			case err == nil:
				a.failure.Store(nil)
				a.config.Log.Info("the certificate is from the ACME server", "host", a.config.Host, "expires", a.current.Load().Leaf.NotAfter)
				if time.Until(renewal(a.current.Load())) > 0 {
					retry, failed, warned = a.retry, 0, time.Time{}
					continue
				}
				err = errDue // the server allows few certificates a week
			}
			a.failure.Store(&err)
			if failed++; warned.IsZero() || time.Since(warned) > warnEvery {
				a.warn(err, failed, retry)
				warned = time.Now()
			}
			sleep = retry + mathrand.N(retry/4+1)
			retry = min(2*retry, lastRetry)
		}
		select {
		case <-time.After(min(sleep, mostSleep)):
		case <-ctx.Done():
			return
		}
	}
}

// warn warns that an attempt has failed.
func (a *ACME) warn(err error, attempts int, next time.Duration) {
	attrs := []any{"host", a.config.Host, "server", a.config.Directory, "attempts", attempts, "next_in", next, "cause", err}
	before := a.current.Load()
	switch {
	case before == nil:
		a.config.Log.Warn("there is no certificate yet: WEB clients and browsers cannot connect. "+
			"The ACME server must reach port 443 of the host, and find this proxy there", attrs...)
	case time.Now().After(before.Leaf.NotAfter):
		a.config.Log.Error("the certificate has expired and is not renewed: WEB clients cannot connect", append(attrs, "expired", before.Leaf.NotAfter)...)
	default:
		a.config.Log.Warn("the certificate is not renewed, the one before goes on", append(attrs, "expires", before.Leaf.NotAfter)...)
	}
}

// renew gets a certificate, keeps it, and puts it in force.
func (a *ACME) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, issueTime)
	defer cancel()
	if err := os.MkdirAll(a.config.Path, 0o700); err != nil {
		return err
	}
	account, err := a.account()
	if err != nil {
		return err
	}
	client := &acme.Client{
		Key: account, DirectoryURL: a.config.Directory, UserAgent: "mtwire",
		HTTPClient: &http.Client{Transport: shortAnswers{http.DefaultTransport}}, RetryBackoff: backoff,
	}
	text, err := a.issue(ctx, client)
	if err != nil {
		return shorten(err)
	}
	loaded, err := tls.X509KeyPair(text, text)
	if err == nil {
		err = loaded.Leaf.VerifyHostname(a.config.Host)
	}
	if err != nil {
		return fmt.Errorf("the server's certificate cannot be used: %w", err)
	}
	a.current.Store(&loaded)
	if err := writeFile(a.certificatePath(), text); err != nil {
		a.config.Log.Warn("the certificate is not kept: the next start requests another one", "error", err)
	}
	return nil
}

// shortAnswers reads the beginning of a body alone: package acme reads all of it, whatever a
// server that is none sends.
type shortAnswers struct{ http.RoundTripper }

func (s shortAnswers) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := s.RoundTripper.RoundTrip(r)
	if err == nil {
		answer.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(answer.Body, maxAnswer), answer.Body}
	}
	return answer, err
}

// backoff returns when a request is repeated for the nth time in an attempt, or 0: a server
// that limits the rate of requests gets none before the next attempt.
func backoff(n int, _ *http.Request, answer *http.Response) time.Duration {
	if n > 3 || answer.StatusCode == http.StatusTooManyRequests {
		return 0
	}
	return time.Second << (n - 1)
}

// shorten returns err with a text that fits into a line of the log.
func shorten(err error) error {
	text := err.Error()
	if len(text) <= maxCause {
		return err
	}
	return errors.New(strings.ToValidUTF8(text[:maxCause], "") + "…")
}

// issue returns a new key and its certificate chain, in PEM.
func (a *ACME) issue(ctx context.Context, client *acme.Client) ([]byte, error) {
	contact := &acme.Account{}
	if a.config.Email != "" {
		contact.Contact = []string{"mailto:" + a.config.Email}
	}
	if _, err := client.Register(ctx, contact, acme.AcceptTOS); err != nil && !errors.Is(err, acme.ErrAccountAlreadyExists) {
		return nil, fmt.Errorf("account: %w", err)
	}
	order, err := client.AuthorizeOrder(ctx, acme.DomainIDs(a.config.Host))
	if err != nil {
		return nil, fmt.Errorf("order: %w", err)
	}
	for _, url := range order.AuthzURLs {
		if err := a.authorize(ctx, client, url); err != nil {
			return nil, fmt.Errorf("authorization: %w", err)
		}
	}
	if order, err = client.WaitOrder(ctx, order.URI); err != nil {
		return nil, fmt.Errorf("order: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{a.config.Host}}, key)
	if err != nil {
		return nil, err
	}
	chain, _, err := client.CreateCertFromOrder(ctx, order, request, true)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	text, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	for _, der := range chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return text, nil
}

// authorize shows the server that the host is ours, unless it knows.
func (a *ACME) authorize(ctx context.Context, client *acme.Client, url string) error {
	authorization, err := client.GetAuthorization(ctx, url)
	if err != nil || authorization.Status == acme.StatusValid {
		return err
	}
	i := slices.IndexFunc(authorization.Challenges, func(c *acme.Challenge) bool { return c.Type == "tls-alpn-01" })
	if i < 0 {
		return errors.New("the server has no challenge of the type tls-alpn-01")
	}
	challenge := authorization.Challenges[i]
	certificate, err := client.TLSALPN01ChallengeCert(challenge.Token, a.config.Host)
	if err != nil {
		return err
	}
	a.challenge.Store(&certificate)
	defer a.challenge.Store(nil)
	if _, err := client.Accept(ctx, challenge); err != nil {
		return err
	}
	_, err = client.WaitAuthorization(ctx, url)
	return err
}

// account returns the key of the account, which is made the first time.
func (a *ACME) account() (crypto.Signer, error) {
	path := filepath.Join(a.config.Path, "account.pem")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		if text, err = encodeKey(key); err != nil {
			return nil, err
		}
		return key, writeFile(path, text)
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s has no key: remove it", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, fmt.Errorf("%s has no key that can be used: remove it", path)
	}
	return signer, nil
}

// encodeKey returns a key in PEM.
func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

// writeFile replaces a file, which only its owner can read, as a whole.
func writeFile(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // after the rename there is none
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
