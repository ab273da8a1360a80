package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/gotd/td/crypto"
	"github.com/gotd/td/exchange"
	"github.com/gotd/td/tgtest"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/interop/gotd"
	"github.com/mtwire/mtwire/mtwiretest"
)

// serve runs a data centre on a port of loopback, which logs its connections as
// "mtwire dc --json" does. It writes its public key and its certificate to files.
func serve(ctx context.Context, keyFile, certificateFile string) error {
	key, err := rsa.GenerateKey(rand.Reader, crypto.RSAKeyBits)
	if err != nil {
		return err
	}
	public := &pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&key.PublicKey)}
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(public), 0o644); err != nil {
		return err
	}
	serverTLS, _, err := mtwiretest.Certificate()
	if err != nil {
		return err
	}
	certificate := &pem.Block{Type: "CERTIFICATE", Bytes: serverTLS.Certificates[0].Certificate[0]}
	if err := os.WriteFile(certificateFile, pem.EncodeToMemory(certificate), 0o644); err != nil {
		return err
	}
	ln, err := listen("127.0.0.1:0", serverTLS)
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(os.Stdout)
	datacenter := &gotd.DataCenter{
		Key: tgtest.NewPrivateKey(key),
		Log: func(e mtwiretest.Event) { encoder.Encode(e) },
	}
	fmt.Fprintf(os.Stderr, "listening on %v\n", ln.Addr())
	err = ln.Serve(ctx, func(ctx context.Context, conn *mtwire.Conn) { datacenter.Handle(ctx, conn) })
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// listen returns a listener for all transports without a secret, with those over
// TLS unless serverTLS is nil.
func listen(address string, serverTLS *tls.Config) (*mtwire.Listener, error) {
	return mtwire.Listen("tcp", address, &mtwire.ListenConfig{AllowNoSecret: true, TLS: serverTLS})
}

// trust returns a client configuration that trusts the certificate in a file.
func trust(certificateFile string) (*tls.Config, error) {
	text, err := os.ReadFile(certificateFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s has no certificate", certificateFile)
	}
	return &tls.Config{RootCAs: pool}, nil
}

// readKey reads the public key that serve wrote.
func readKey(keyFile string) (exchange.PublicKey, error) {
	text, err := os.ReadFile(keyFile)
	if err != nil {
		return exchange.PublicKey{}, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return exchange.PublicKey{}, fmt.Errorf("%s has no PEM block", keyFile)
	}
	key, err := x509.ParsePKCS1PublicKey(block.Bytes)
	return exchange.PublicKey{RSA: key}, err
}

// version prints the version of gotd.
func version() error {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return errors.New("the binary has no build information")
	}
	for _, module := range info.Deps {
		if module.Path == "github.com/gotd/td" {
			fmt.Println(module.Version)
			return nil
		}
	}
	return errors.New("the binary is built without gotd")
}
