package keysearch

import (
	"bytes"
	"context"
	"encoding/binary"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/obfuscation"
)

// keyOf returns the key of a test's i-th entry.
func keyOf(i int) (key [16]byte) {
	copy(key[:], "a user's secret")
	binary.BigEndian.PutUint32(key[12:], uint32(i))
	return key
}

// entriesOf returns n entries of one mode and domain, from the start-th on.
func entriesOf(start, n int, mode mtproxy.Mode, domain string) (entries []Entry) {
	for i := start; i < start+n; i++ {
		secret := mtproxy.Secret{Key: keyOf(i), Mode: mode, Domain: domain}
		entries = append(entries, Entry{secret, secret.Modes()})
	}
	return entries
}

// withModes returns entries with no other modes than these.
func withModes(entries []Entry, modes mtproxy.Modes) []Entry {
	for i := range entries {
		entries[i].Modes &= modes
	}
	return entries
}

// address returns the i-th of many addresses.
func address(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

// testServer searches for the keys of real hellos and init payloads.
type testServer struct {
	*Search
	*Index
	skipped int // searches that were not done
}

func newTestServer(entries []Entry) *testServer {
	s := New(Config{})
	return &testServer{Search: s, Index: s.NewIndex(entries)}
}

// accept searches for the key of a client that sent first, and returns its
// entry and how many keys were tried. As in a server's handshake, a FakeTLS
// hello without a key may still be an init payload.
func (s *testServer) accept(from netip.Addr, first []byte) (entry, tried int) {
	find := func(q Query, match func([][16]byte) int) int {
		entry, outcome := s.Find(context.Background(), s.Index, from, q, func(set *mtproxy.KeySet) int {
			tried += set.Len()
			return match(set.Keys())
		})
		if outcome == NotSearched {
			s.skipped++
		}
		if (outcome == Found) != (entry >= 0) {
			panic("the entry is not the outcome's")
		}
		return entry
	}
	entry = -1
	if hello, n, err := faketls.ParseClientHello(first); err == nil {
		entry = find(Query{FakeTLS: true, ServerName: hello.SNI, Length: n}, func(keys [][16]byte) int {
			i, _ := hello.MatchAny(keys)
			return i
		})
	}
	if entry < 0 {
		entry = find(Query{Length: obfuscation.InitLength}, func(keys [][16]byte) int {
			init, err := obfuscation.Match((*[obfuscation.InitLength]byte)(first), keys)
			if err != nil {
				return -1
			}
			return init.Key
		})
	}
	return entry, tried
}

// initOf returns the init payload of a client with that key.
func initOf(t testing.TB, key [16]byte, protocol frame.Protocol) []byte {
	init, _, err := obfuscation.NewInit(&obfuscation.ClientConfig{Protocol: protocol, DC: 2, Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	return init[:]
}

// helloOf returns the FakeTLS hello of a client with that key.
func helloOf(t testing.TB, key [16]byte, domain string) []byte {
	hello, err := faketls.AppendClientHello(nil, &faketls.ClientConfig{Key: key, Domain: domain})
	if err != nil {
		t.Fatal(err)
	}
	return hello
}

// helloWithoutSNI returns a FakeTLS hello without a server name, as several
// versions of Telegram for iOS send it.
func helloWithoutSNI(t testing.TB, key [16]byte) []byte { return helloOfLength(t, key, 517) }

// helloOfLength returns a FakeTLS hello of that length without a server name.
func helloOfLength(t testing.TB, key [16]byte, length int) []byte {
	hello, err := faketls.AppendClientHello(nil, &faketls.ClientConfig{Key: key, Domain: "-", Hello: func(string) ([]byte, error) {
		head := binary.BigEndian.AppendUint16([]byte("\x16\x03\x01"), uint16(length-5))
		head = binary.BigEndian.AppendUint16(append(head, 1, 0), uint16(length-9))
		head = append(append(head, 3, 3), make([]byte, 32)...)
		head = append(append(head, 32), bytes.Repeat([]byte{0x11}, 32)...)
		return append(head, make([]byte, length-len(head))...), nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return hello
}

var (
	initQuery      = Query{Length: obfuscation.InitLength}
	helloQuery     = Query{FakeTLS: true, ServerName: "a.example", Length: 1817} // a browser's, with ML-KEM
	longHelloQuery = Query{FakeTLS: true, ServerName: "a.example", Length: 16<<10 + 5}
)

// timedSearch is a search among 10,000 entries in a synctest bubble, on two
// processors that need perUnit nanoseconds for a unit of work.
type timedSearch struct {
	*Search
	index   *Index
	perUnit time.Duration
	took    atomic.Int64 // nanoseconds of processor time
}

func newTimedSearch(config Config, perUnit time.Duration) *timedSearch {
	if config.Processors == 0 {
		config.Processors = 0.5
	}
	s := &timedSearch{Search: New(config), perUnit: perUnit}
	s.queue.free = 2
	s.index = s.NewIndex(entriesOf(0, 10000, mtproxy.FakeTLS, "a.example"))
	s.index.withoutFakeTLS = s.index.fakeTLS
	return s
}

// cost returns how long it takes to try that many keys.
func (s *timedSearch) cost(q Query, keys int) time.Duration {
	return time.Duration(q.work(keys)) * s.perUnit
}

// spend charges cost to the budget.
func (s *timedSearch) spend(cost time.Duration) {
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	s.queue.limits.charge(cost, time.Now())
}

// inQueue returns how many searches there are.
func (s *timedSearch) inQueue() int {
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	return len(s.queue.jobs)
}

// try takes the time that the keys of set cost.
func (s *timedSearch) try(q Query, set *mtproxy.KeySet) {
	cost := s.cost(q, set.Len())
	time.Sleep(cost)
	s.took.Add(int64(cost))
}

// fail searches for a client without a secret.
func (s *timedSearch) fail(ctx context.Context, from netip.Addr, q Query) Outcome {
	_, outcome := s.Find(ctx, s.index, from, q, func(set *mtproxy.KeySet) int {
		s.try(q, set)
		return -1
	})
	return outcome
}

// failFor is fail for a client that leaves after that time.
func (s *timedSearch) failFor(t *testing.T, from netip.Addr, q Query, patience time.Duration) Outcome {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return s.fail(ctx, from, q)
}

// find searches for a client with the secret of entry i.
func (s *timedSearch) find(ctx context.Context, from netip.Addr, q Query, i int) (entry int, outcome Outcome) {
	key := keyOf(i)
	return s.Find(ctx, s.index, from, q, func(set *mtproxy.KeySet) int {
		k := slices.Index(set.Keys(), key)
		if k < 0 {
			s.try(q, set)
		} else {
			s.try(q, set.Slice(0, k+1))
		}
		return k
	})
}
