package interop

import (
	"crypto/rand"
	"crypto/rsa"
	"sync"
	"testing"
	"time"

	"github.com/gotd/td/crypto"
	"github.com/gotd/td/exchange"
	"github.com/gotd/td/tgtest"
)

// serverKey is the RSA key of every test server. Making one takes a while.
var serverKey = sync.OnceValues(func() (*rsa.PrivateKey, error) {
	return rsa.GenerateKey(rand.Reader, crypto.RSAKeyBits)
})

func rsaKey(t testing.TB) exchange.PrivateKey {
	key, err := serverKey()
	if err != nil {
		t.Fatal(err)
	}
	return tgtest.NewPrivateKey(key)
}

// limit bounds a test that hangs.
const limit = 30 * time.Second
