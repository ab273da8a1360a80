package proxy

import (
	"testing"
	"testing/synctest"

	"github.com/mtwire/mtwire/mtproxy"
)

// "Strangers is how many did not know a secret, Unsearched how many of these
// were not looked for": each connection counts once, also one that is looked at
// as a FakeTLS hello and as an init payload. Who says nothing is no stranger.
func TestStrangersAreCountedOnce(t *testing.T) {
	noise := make([]byte, 1000)
	for i := range noise {
		noise[i] = byte(i*i + 7)
	}
	inBubble(t, Config{Users: crowd(0, 100, mtproxy.Plain, "")}, nil, func(t *testing.T, b *bubble) {
		visit := func(first []byte) {
			conn := b.connect()
			conn.Write(first)
			synctest.Wait()
			conn.Close()
			synctest.Wait()
		}
		visit(nil)
		if s := b.Stats(); s.Accepted != 1 || s.Strangers != 0 {
			t.Errorf("after nothing: %+v", s)
		}
		visit(noise)
		visit(helloOf(t, [16]byte{}, "a.example"))
		if s := b.Stats(); s.Accepted != 3 || s.Strangers != 2 || s.Unsearched != 0 || s.Authenticated != 0 {
			t.Errorf("within the budget: %+v", s)
		}
		b.search.strange.charge(address(0), 1<<40)
		visit(noise)
		visit(helloOf(t, [16]byte{}, "a.example"))
		if s := b.Stats(); s.Strangers != 4 || s.Unsearched != 2 {
			t.Errorf("beyond it: %+v", s)
		}
	})
}
