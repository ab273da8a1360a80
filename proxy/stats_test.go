package proxy

import (
	"testing"
	"testing/synctest"

	"github.com/mtwire/mtwire/mtproxy"
)

// Each connection counts once as unauthenticated and once as not searched for,
// also one that is searched for as a FakeTLS hello and as an init payload. A
// client that sends nothing is not counted.
func TestUnauthenticatedClientsAreCountedOnce(t *testing.T) {
	noise := make([]byte, 1000)
	for i := range noise {
		noise[i] = byte(i*i + 7)
	}
	inBubble(t, Config{Users: numberedUsers(0, 100, mtproxy.Plain, "")}, nil, func(t *testing.T, b *bubble) {
		visit := func(first []byte) {
			conn := b.connect()
			conn.Write(first)
			synctest.Wait()
			conn.Close()
			synctest.Wait()
		}
		visit(nil)
		if s := b.Stats(); s.Accepted != 1 || s.Unauthenticated != 0 {
			t.Errorf("after nothing: %+v", s)
		}
		visit(noise)
		visit(helloOf(t, [16]byte{}, "a.example"))
		if s := b.Stats(); s.Accepted != 3 || s.Unauthenticated != 2 || s.SearchesSkipped != 0 || s.Authenticated != 0 {
			t.Errorf("within the budget: %+v", s)
		}
		spendBudget(t, b.Proxy)
		visit(noise)
		visit(helloOf(t, [16]byte{}, "a.example"))
		if s := b.Stats(); s.Unauthenticated != 4 || s.SearchesSkipped != 2 {
			t.Errorf("beyond it: %+v", s)
		}
	})
}
