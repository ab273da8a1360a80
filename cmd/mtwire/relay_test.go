package main

import (
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire/mtwiretest"
)

// The relay's certificate is read again when it has been renewed, and a bad one changes
// nothing.
func TestTheRelaysCertificateIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	flags := &relayFlags{tlsCert: filepath.Join(dir, "cert"), tlsKey: filepath.Join(dir, "key")}
	renew := func() string {
		config, _, err := mtwiretest.Certificate()
		if err != nil {
			t.Fatal(err)
		}
		certificate := config.Certificates[0]
		key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		for name, block := range map[string]*pem.Block{flags.tlsCert: {Type: "CERTIFICATE", Bytes: certificate.Certificate[0]}, flags.tlsKey: {Type: "PRIVATE KEY", Bytes: key}} {
			if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return string(certificate.Certificate[0])
	}
	first := renew()
	config, err := flags.listenConfig(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	current := func() string {
		certificate, err := config.TLS.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return string(certificate.Certificate[0])
	}
	if current() != first {
		t.Error("not the certificate of the file")
	}
	var text strings.Builder
	log := &processLog{Logger: slog.New(slog.NewTextHandler(io.Writer(&text), nil))}
	second := renew()
	if flags.reload(log, nil, config, nil); current() != second || !strings.Contains(text.String(), "read the certificate again") {
		t.Error("not the renewed certificate", text.String())
	}
	if err := os.WriteFile(flags.tlsCert, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if flags.reload(log, nil, config, nil); current() != second || !strings.Contains(text.String(), "level=ERROR") {
		t.Error("a bad file has an effect", text.String())
	}
}

// 0 seconds are no limit, as with other flags, and not the default.
func TestNoLimitForAnswersOfARelay(t *testing.T) {
	for seconds, want := range map[time.Duration]time.Duration{0: -1, 3 * time.Second: 3 * time.Second} {
		if got := (&relayFlags{answer: seconds}).answerTimeout(); got != want {
			t.Errorf("%v: %v, want %v", seconds, got, want)
		}
	}
}
