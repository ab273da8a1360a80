package site

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// writePages writes the pages of a site. The large one does not compress.
func writePages(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	random := make([]byte, LargeSize/2)
	mathrand.NewChaCha8([32]byte{}).Read(random)
	large := make([]byte, LargeSize)
	hex.Encode(large, random)
	small := []byte("<!doctype html><title>Example</title><p>It works.\n")
	for name, page := range map[string][]byte{SmallPage: small, LargePage: large, "index.html": small} {
		if err := os.WriteFile(filepath.Join(dir, name), page, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// writeCertificate writes a self-signed certificate and its key, in PEM. The key is
// an RSA one: its signatures have one length, so that two handshakes do too.
func writeCertificate(dir string) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: Domain},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		DNSNames:     []string{Domain},
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})
	private = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	for name, text := range map[string][]byte{
		"certificate.pem": certificate,
		"key.pem":         private,
		"both.pem":        bytes.Join([][]byte{certificate, private}, nil),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
