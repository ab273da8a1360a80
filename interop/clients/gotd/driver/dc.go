package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
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
	"github.com/mtwire/mtwire/internal/testdc"
	"github.com/mtwire/mtwire/interop/gotd"
)

// serve is a data centre on a port of loopback, which says what connects as
// "mtwire dc --json" does. It writes its public key to a file.
func serve(ctx context.Context, keyFile string) error {
	key, err := rsa.GenerateKey(rand.Reader, crypto.RSAKeyBits)
	if err != nil {
		return err
	}
	public := &pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&key.PublicKey)}
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(public), 0o644); err != nil {
		return err
	}
	ln, err := listen("127.0.0.1:0")
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(os.Stdout)
	datacenter := &gotd.DataCenter{
		Key: tgtest.NewPrivateKey(key),
		Log: func(e testdc.Event) { encoder.Encode(e) },
	}
	fmt.Fprintf(os.Stderr, "listening on %v\n", ln.Addr())
	err = ln.Serve(ctx, func(ctx context.Context, conn *mtwire.Conn) { datacenter.Handle(ctx, conn) })
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// listen takes what data centres take.
func listen(address string) (*mtwire.Listener, error) {
	return mtwire.Listen("tcp", address, &mtwire.ListenConfig{AllowNoSecret: true})
}

// readKey reads the file that serve wrote.
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

// version prints which gotd this is.
func version() error {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return errors.New("the binary does not say what it was built of")
	}
	for _, module := range info.Deps {
		if module.Path == "github.com/gotd/td" {
			fmt.Println(module.Version)
			return nil
		}
	}
	return errors.New("the binary has no gotd")
}
