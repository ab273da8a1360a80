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

// serverKey generates the RSA key of all test servers, once because that is slow.
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

// testTimeout bounds each test.
const testTimeout = time.Minute
