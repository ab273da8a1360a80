package proxy

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/obfuscation"
)

// keyOf is the key of a test's i-th user.
func keyOf(i int) (key [16]byte) {
	copy(key[:], "a user's secret")
	binary.BigEndian.PutUint32(key[12:], uint32(i))
	return key
}

// crowd are n users of one mode and domain, from the start-th on.
func crowd(start, n int, mode mtproxy.Mode, domain string) (users []User) {
	for i := start; i < start+n; i++ {
		users = append(users, User{
			Name:   fmt.Sprint("user ", i),
			Secret: mtproxy.Secret{Key: keyOf(i), Mode: mode, Domain: domain},
		})
	}
	return users
}

// searched is a search that real handshakes are put to.
type searched struct {
	search
	terms     *mtwire.Listener
	forbidden int // searches that the budget forbade
}

func newSearched(users []User) *searched {
	s := &searched{}
	s.prepare(users, mtproxy.AllModes)
	s.terms = mtwire.NewListener(nil, &mtwire.ListenConfig{
		Secrets: s.secrets, FindSecret: s.look, ClockWindow: -1,
	})
	return s
}

// looking is one handshake's search: where the client is, how many keys were
// tried on it, and whose it was found to have.
type looking struct {
	from         netip.Addr
	tried, place int
}

type lookingKey struct{}

func (s *searched) look(ctx context.Context, q mtwire.SecretQuery, try func(*mtwire.SecretSet) int) int {
	l := ctx.Value(lookingKey{}).(*looking)
	place, all := s.find(l.from, q, func(set *mtwire.SecretSet) int {
		l.tried += set.Len()
		return try(set)
	})
	if !all {
		s.forbidden++
	}
	l.place = max(l.place, place)
	return place
}

// client has the search find who a client is.
func (s *searched) client(from netip.Addr, first []byte) (place, tried int) {
	l := &looking{from: from, place: -1}
	s.terms.Server(&said{rest: first}).Handshake(context.WithValue(context.Background(), lookingKey{}, l))
	return l.place, l.tried
}

// said is the connection of a client that has said all it had to say.
type said struct {
	net.Conn
	rest []byte
}

func (s *said) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *said) Write(p []byte) (int, error)      { return len(p), nil }
func (s *said) SetReadDeadline(time.Time) error  { return nil }
func (s *said) SetWriteDeadline(time.Time) error { return nil }

// initOf is the init payload of a client with that key.
func initOf(t testing.TB, key [16]byte, protocol mtwire.Protocol) []byte {
	init, _, err := obfuscation.NewInit(&obfuscation.ClientConfig{Protocol: protocol, DC: 2, Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	return init[:]
}

// helloOf is the FakeTLS hello of a client with that key.
func helloOf(t testing.TB, key [16]byte, domain string) []byte {
	hello, err := faketls.AppendClientHello(nil, &faketls.ClientConfig{Key: key, Domain: domain})
	if err != nil {
		t.Fatal(err)
	}
	return hello
}

// namelessHello is a hello without a server name, as several versions of
// Telegram for iOS send it.
func namelessHello(t testing.TB, key [16]byte) []byte {
	hello, err := faketls.AppendClientHello(nil, &faketls.ClientConfig{Key: key, Domain: "-", Hello: func(string) ([]byte, error) {
		head := append([]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), make([]byte, 32)...)
		head = append(append(head, 32), bytes.Repeat([]byte{0x11}, 32)...)
		return append(head, make([]byte, 517-len(head))...), nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return hello
}

// address is the i-th of many.
func address(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

// "10,000 users: right user found in dd and ee". Of a new address all keys are
// tried, of one that returns only the few that came from there.
func TestEveryUserIsFoundAmongTenThousand(t *testing.T) {
	const n = 10000
	for mode, firstOf := range map[string]func(i int) []byte{
		"dd": func(i int) []byte { return initOf(t, keyOf(i), mtwire.PaddedIntermediate) },
		"ee": func(i int) []byte { return helloOf(t, keyOf(i), "a.example") },
	} {
		s := newSearched(crowd(0, n, mtproxy.FakeTLS, "a.example"))
		if mode == "dd" {
			s = newSearched(crowd(0, n, mtproxy.Padded, ""))
		}
		for k, i := range []int{0, 15, 16, 4999, n - 1} {
			if place, tried := s.client(address(k), firstOf(i)); place != i || tried != n {
				t.Errorf("%s: user %d is %d, %d keys tried", mode, i, place, tried)
			}
			if place, tried := s.client(address(k), firstOf(i)); place != i || tried != 1 {
				t.Errorf("%s: user %d returns and is %d, %d keys tried", mode, i, place, tried)
			}
		}
		if s.strange.all.cost != 0 {
			t.Errorf("%s: %v was charged for clients that know a secret", mode, s.strange.all.cost)
		}
	}
}

// A host name that few secrets have narrows the search down, whatever was spent.
func TestNameWithFewSecretsIsSearchedAlone(t *testing.T) {
	users := append(crowd(0, 1000, mtproxy.FakeTLS, "a.example"), crowd(1000, 3, mtproxy.FakeTLS, "b.example")...)
	s := newSearched(users)
	s.strange.charge(address(1), 1<<40)
	for i := range 3 {
		if place, tried := s.client(address(1), helloOf(t, keyOf(1000+i), "b.example")); place != 1000+i || tried != 3 {
			t.Errorf("user %d is %d, %d keys tried", 1000+i, place, tried)
		}
	}
	if place, tried := s.client(address(1), helloOf(t, keyOf(7), "a.example")); place != -1 || tried != 0 || s.forbidden != 1 {
		t.Errorf("a user of the large domain is %d, %d keys tried", place, tried)
	}
	if place, tried := s.client(address(2), helloOf(t, keyOf(7), "c.example")); place != -1 || tried != 0 || s.forbidden != 1 {
		t.Errorf("a hello for nobody's domain is %d, %d keys tried", place, tried)
	}
}

// Upper and lower case are the same in a host name, whoever wrote it: the
// operator, or the client's TLS library. It is so among few secrets, among many,
// and for who returns.
func TestNameMatchesInAnyCase(t *testing.T) {
	for _, n := range []int{1, 100} {
		s := newSearched(crowd(0, n, mtproxy.FakeTLS, "Site.Example"))
		for range 2 {
			for _, name := range []string{"site.example", "Site.Example", "SITE.example"} {
				if place, _ := s.client(address(1), helloOf(t, keyOf(n-1), name)); place != n-1 {
					t.Errorf("of %d, the user who asks for %s is %d", n, name, place)
				}
			}
		}
	}
}

// "Constant results for mixed sets (plain, dd, ee, several domains, users
// without domain)": who a client is found to be depends on nothing but its
// secret and what it sent, not on who else came from there.
func TestResultsDoNotDependOnTheMemory(t *testing.T) {
	const each = 70 // more than are searched without further ado
	users := slices.Concat(
		crowd(0, each, mtproxy.Plain, ""),
		crowd(each, each, mtproxy.Padded, ""),
		crowd(2*each, each, mtproxy.FakeTLS, "a.example"),
		crowd(3*each, 3, mtproxy.FakeTLS, "b.example"),
	)
	bare := func(p mtwire.Protocol) func(i int) []byte {
		return func(i int) []byte { return initOf(t, keyOf(i), p) }
	}
	named := func(domain string) func(i int) []byte {
		return func(i int) []byte { return helloOf(t, keyOf(i), domain) }
	}
	const plain, padded, a, b = 0, each, 2 * each, 3 * each // each one's first
	for name, c := range map[string]struct {
		first func(i int) []byte
		found []int // the first users of these kinds, and of no other
	}{
		"classic":          {bare(mtwire.Abridged), []int{plain, padded}}, // which is for Permit to refuse
		"dd":               {bare(mtwire.PaddedIntermediate), []int{plain, padded}},
		"ee, a.example":    {named("a.example"), []int{plain, padded, a}},
		"ee, b.example":    {named("b.example"), []int{plain, padded, b}},
		"ee, c.example":    {named("c.example"), []int{plain, padded}},
		"ee, without name": {func(i int) []byte { return namelessHello(t, keyOf(i)) }, []int{plain, padded, a, b}},
	} {
		s := newSearched(users)
		for _, kind := range []int{plain, padded, a, b} {
			i, want := kind+1, -1
			if slices.Contains(c.found, kind) {
				want = i
			}
			first := c.first(i)
			for k, from := range []netip.Addr{address(i), address(i), address(1000)} {
				if place, _ := s.client(from, first); place != want {
					t.Errorf("%s: user %d is %d the %d. time, want %d", name, i, place, k+1, want)
				}
			}
		}
	}
}

// A mode that is switched off is not searched in.
func TestModesThatAreOffAreNotSearched(t *testing.T) {
	var s search
	s.prepare(append(crowd(0, 3, mtproxy.Plain, ""), crowd(3, 3, mtproxy.Padded, "")...), mtproxy.EE)
	if n := len(s.candidates(mtwire.SecretQuery{}).places); n != 0 {
		t.Errorf("%d secrets without FakeTLS", n)
	}
	if n := len(s.candidates(mtwire.SecretQuery{FakeTLS: true, ServerName: "x"}).places); n != 6 {
		t.Errorf("%d secrets with FakeTLS", n)
	}
}

// Families and offices share an address: several users are remembered for one,
// and whoever is not is found as on the first day.
func TestSeveralUsersReturnToOneAddress(t *testing.T) {
	s := newSearched(crowd(0, 100, mtproxy.Padded, ""))
	home := []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::ffff:2")}
	for i := range rememberedHere + 2 {
		s.client(home[i%2], initOf(t, keyOf(i), mtwire.PaddedIntermediate))
	}
	for i := 2; i < rememberedHere+2; i++ {
		if place, tried := s.client(home[1-i%2], initOf(t, keyOf(i), mtwire.PaddedIntermediate)); place != i || tried != rememberedHere {
			t.Errorf("user %d is %d, %d keys tried", i, place, tried)
		}
	}
	if place, tried := s.client(home[0], initOf(t, keyOf(0), mtwire.PaddedIntermediate)); place != 0 || tried != rememberedHere+100 {
		t.Errorf("the first user is %d, %d keys tried", place, tried)
	}
	if known := s.memory.users(netip.MustParseAddr("2001:db8:0:1::1")); known != nil {
		t.Errorf("users %d are known next door", known)
	}
}

// "Memory bounded": the oldest addresses are forgotten.
func TestAddressMemoryForgetsTheOldest(t *testing.T) {
	var m addressMemory
	for i := range 2*rememberedAddresses + 10 {
		m.remember(address(i), i%7)
		if len(m.young) > rememberedAddresses || len(m.old) > rememberedAddresses {
			t.Fatalf("%d and %d are remembered", len(m.young), len(m.old))
		}
	}
	if users := m.users(address(2)); users != nil {
		t.Errorf("users %d of the first address are still known", users)
	}
	if users := m.users(address(rememberedAddresses + 10)); len(users) != 1 {
		t.Errorf("users %d of a younger one", users)
	}
}

// "The right user": the log names whose secret it was, of many kinds at once.
func TestManySecretsAtOnce(t *testing.T) {
	dc, _ := dataCenter(t)
	users := slices.Concat(
		crowd(0, 80, mtproxy.Plain, ""), crowd(80, 80, mtproxy.Padded, ""),
		crowd(160, 80, mtproxy.FakeTLS, "a.example"), crowd(240, 80, mtproxy.FakeTLS, "b.example"),
	)
	log := &logBuffer{}
	host, _ := frontingHost(t)
	address := start(t, Config{
		Users: users, Log: log.logger(), Fronts: map[string]string{"": host},
		DataCenters: map[datacenter.DC][]string{0: {dc.String()}},
	})
	for _, i := range []int{0, 79, 80, 159, 160, 239, 240, 319} {
		join(t, address, "secret="+users[i].Secret.String()).Close()
		mode := []string{"dd", "dd", "ee", "ee"}[i/80]
		line := fmt.Sprintf(`user="user %d" mode=%s`, i, mode)
		eventually(t, line, func() bool { return len(log.lines(line)) == 1 })
	}
	if text := strings.Join(log.lines(""), "\n"); strings.Contains(text, users[0].Secret.String()[:20]) {
		t.Error("a secret is in the log")
	}
}

// benchmarkFind looks for the last of 10,000 users, and says how often that is
// to be in time.
func benchmarkFind(b *testing.B, from func(i int) netip.Addr) {
	const n = 10000
	for _, c := range []struct {
		name  string
		users []User
		first []byte
	}{
		{"dd", crowd(0, n, mtproxy.Padded, ""), initOf(b, keyOf(n-1), mtwire.PaddedIntermediate)},
		{"ee", crowd(0, n, mtproxy.FakeTLS, "a.example"), helloOf(b, keyOf(n-1), "a.example")},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := newSearched(c.users)
			s.client(from(0), c.first)
			i := 0
			for b.Loop() {
				i++
				if place, _ := s.client(from(i), c.first); place != n-1 {
					b.Fatal(place)
				}
			}
		})
	}
}

// The handshake of a client that nothing is known of: "at most 4 ms dd, 15 ms
// ee" on a slow core.
func BenchmarkFirstContact10000(b *testing.B) { benchmarkFind(b, address) }

// The handshake of one that returns to its address: "at most 0.5 ms".
func BenchmarkReturningAddress(b *testing.B) {
	benchmarkFind(b, func(int) netip.Addr { return address(1) })
}
