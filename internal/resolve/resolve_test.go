package resolve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// fakeResolver is the Lookup of a test, which counts.
type fakeResolver struct {
	mu        sync.Mutex
	addresses []string
	err       error
	delay     time.Duration
	lookups   int
	running   int
}

func (r *fakeResolver) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	r.mu.Lock()
	r.lookups++
	r.running++
	addresses, err, delay := parse(r.addresses...), r.err, r.delay
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.running--
		r.mu.Unlock()
	}()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	return addresses, nil
}

// set changes what the resolver answers, and how long it takes.
func (r *fakeResolver) set(delay time.Duration, err error, addresses ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delay, r.err, r.addresses = delay, err, addresses
}

// count returns the number of lookups since the last call.
func (r *fakeResolver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.lookups
	r.lookups = 0
	return n
}

func parse(texts ...string) (addresses []netip.Addr) {
	for _, text := range texts {
		addresses = append(addresses, netip.MustParseAddr(text))
	}
	return addresses
}

// inBubble runs a test with a cache that resolves with a fakeResolver.
func inBubble(t *testing.T, test func(t *testing.T, c *Cache, r *fakeResolver, warnings *[]string)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &fakeResolver{addresses: []string{"192.0.2.1"}}
		var warnings []string
		c := New(Config{Lookup: r.lookup, Warn: func(host string, err error, unlogged int) {
			warnings = append(warnings, fmt.Sprintf("%s: %v, %d before", host, err, unlogged))
		}})
		defer c.Close()
		test(t, c, r, &warnings)
	})
}

// expect looks the host up and compares the result, and the time that it took.
func expect(t *testing.T, c *Cache, within time.Duration, want ...string) {
	t.Helper()
	begin := time.Now()
	got, err := c.Lookup(t.Context(), "host.test")
	if err != nil || !slices.Equal(got, parse(want...)) || time.Since(begin) > within {
		t.Errorf("%v, %v after %v, want %v within %v", got, err, time.Since(begin), want, within)
	}
}

var errResolver = errors.New("the resolver fails")

// Any number of calls at one time, and all within a minute, cost one lookup. Case
// does not matter.
func TestManyCallsShareOneLookup(t *testing.T) {
	inBubble(t, func(t *testing.T, c *Cache, r *fakeResolver, _ *[]string) {
		r.set(time.Second, nil, "192.0.2.1")
		var calls sync.WaitGroup
		for range 100 {
			calls.Go(func() { expect(t, c, time.Second, "192.0.2.1") })
		}
		calls.Wait()
		time.Sleep(refreshAge - 2*time.Second)
		expect(t, c, 0, "192.0.2.1")
		if _, err := c.Lookup(t.Context(), "HOST.test"); err != nil {
			t.Error(err)
		}
		if n := r.count(); n != 1 {
			t.Errorf("%d lookups", n)
		}
	})
}

// An entry in use is refreshed in the background: no call waits for it, and the
// next calls get the new addresses.
func TestEntryInUseIsRefreshedInTheBackground(t *testing.T) {
	inBubble(t, func(t *testing.T, c *Cache, r *fakeResolver, _ *[]string) {
		expect(t, c, 0, "192.0.2.1")
		r.set(time.Second, nil, "192.0.2.2")
		time.Sleep(refreshAge)
		expect(t, c, 0, "192.0.2.1")
		expect(t, c, 0, "192.0.2.1")
		time.Sleep(time.Second)
		synctest.Wait()
		expect(t, c, 0, "192.0.2.2")
		if n := r.count(); n != 2 {
			t.Errorf("%d lookups", n)
		}
	})
}

// An entry that was not in use is refreshed first, but if that takes long, the old
// addresses are used.
func TestStaleEntryIsRefreshedFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, c *Cache, r *fakeResolver, _ *[]string) {
		expect(t, c, 0, "192.0.2.1")
		r.set(time.Second, nil, "192.0.2.2")
		time.Sleep(staleAge)
		expect(t, c, time.Second, "192.0.2.2")
		r.set(5*time.Second, nil, "192.0.2.3")
		time.Sleep(staleAge)
		expect(t, c, staleDelay, "192.0.2.2")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		expect(t, c, 0, "192.0.2.3")
	})
}

// While the resolver fails, also with an answer that there is no such host, the
// last addresses stay in use, for a day and more. Lookups are few, and warnings
// come once a minute.
func TestLastAddressesStayInUseWhileTheResolverFails(t *testing.T) {
	for _, failure := range []error{errResolver, &net.DNSError{Err: "no such host", Name: "host.test", IsNotFound: true}, nil} {
		inBubble(t, func(t *testing.T, c *Cache, r *fakeResolver, warnings *[]string) {
			expect(t, c, 0, "192.0.2.1")
			r.set(time.Second, failure) // without an error: an empty answer
			time.Sleep(refreshAge)
			r.count()
			const calls = 600
			for range calls {
				expect(t, c, 0, "192.0.2.1")
				time.Sleep(time.Second)
			}
			time.Sleep(24 * time.Hour)
			expect(t, c, 0, "192.0.2.1")
			time.Sleep(time.Second)
			synctest.Wait() // the lookup has failed
			lookups := r.count()
			if lookups < calls/10 || lookups > calls/5 {
				t.Errorf("%d lookups in ten minutes", lookups)
			}
			counted := len(*warnings)
			for _, warning := range *warnings {
				var before int
				fmt.Sscanf(warning[strings.LastIndex(warning, ", ")+2:], "%d before", &before)
				counted += before
			}
			if counted != lookups {
				t.Errorf("%d of %d failed lookups are in %q", counted, lookups, *warnings)
			}
			if n := len(*warnings); n < 10 || n > 12 {
				t.Errorf("%d warnings in ten minutes: %q", n, *warnings)
			}
			r.set(0, nil, "192.0.2.2")
			time.Sleep(retryInterval)
			expect(t, c, 0, "192.0.2.1") // starts a lookup
			synctest.Wait()
			expect(t, c, 0, "192.0.2.2")
		})
	}
}

// Without addresses of before, a failed lookup is not repeated for five seconds.
func TestFailureIsKeptForSeconds(t *testing.T) {
	inBubble(t, func(t *testing.T, c *Cache, r *fakeResolver, warnings *[]string) {
		r.set(time.Second, errResolver)
		for range 10 {
			if got, err := c.Lookup(t.Context(), "host.test"); err != errResolver {
				t.Errorf("%v, %v", got, err)
			}
		}
		if n := r.count(); n != 1 || len(*warnings) > 0 {
			t.Errorf("%d lookups, warnings %q", n, *warnings)
		}
		r.set(0, nil, "192.0.2.1")
		time.Sleep(retryInterval)
		expect(t, c, 0, "192.0.2.1")
	})
}

// A lookup that has failed for want of a descriptor is repeated at once: others may have made room.
func TestAShortageIsNotKept(t *testing.T) {
	inBubble(t, func(t *testing.T, c *Cache, r *fakeResolver, _ *[]string) {
		shortage := &net.DNSError{Err: "dial udp 192.0.2.53:53: socket: " + syscall.EMFILE.Error(), Name: "host.test", IsTemporary: true}
		r.set(0, shortage)
		for range 3 {
			if _, err := c.Lookup(t.Context(), "host.test"); err != error(shortage) {
				t.Error(err)
			}
		}
		if n := r.count(); n != 3 {
			t.Errorf("%d lookups", n)
		}
		r.set(0, nil, "192.0.2.1")
		expect(t, c, 0, "192.0.2.1")
	})
}

// A lookup goes on when the context of a caller ends, for the other ones. It has a
// limit of its own.
func TestLookupOutlivesItsCaller(t *testing.T) {
	inBubble(t, func(t *testing.T, c *Cache, r *fakeResolver, _ *[]string) {
		r.set(2*time.Second, nil, "192.0.2.1")
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Lookup(short, "host.test"); err != context.DeadlineExceeded {
			t.Error(err)
		}
		expect(t, c, time.Second, "192.0.2.1")
		r.set(time.Hour, nil)
		begin := time.Now()
		if _, err := c.Lookup(t.Context(), "slow.test"); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != lookupTimeout {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		if n := r.count(); n != 2 {
			t.Errorf("%d lookups", n)
		}
	})
}

// Close ends lookups and waits for them. Known addresses stay.
func TestCloseEndsLookups(t *testing.T) {
	inBubble(t, func(t *testing.T, c *Cache, r *fakeResolver, warnings *[]string) {
		expect(t, c, 0, "192.0.2.1")
		r.set(time.Hour, nil)
		time.Sleep(refreshAge)
		expect(t, c, 0, "192.0.2.1") // starts a lookup
		synctest.Wait()
		c.Close()
		if r.running != 0 {
			t.Errorf("%d lookups run", r.running)
		}
		expect(t, c, 0, "192.0.2.1")
		if _, err := c.Lookup(t.Context(), "other.test"); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		if len(*warnings) > 0 {
			t.Errorf("warnings %q", *warnings)
		}
	})
}

// The memory of a cache is bounded: the host that was not used for longest makes
// room. A host has at most eight addresses.
func TestMemoryIsBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, c *Cache, r *fakeResolver, _ *[]string) {
		var many []string
		for i := range 100 {
			many = append(many, fmt.Sprintf("192.0.2.%d", i))
		}
		r.set(0, nil, many...)
		expect(t, c, 0, many[:maxAddresses]...)
		for i := range 2 * maxHosts {
			time.Sleep(time.Millisecond)
			expect(t, c, 0, many[:maxAddresses]...) // in use
			c.Lookup(t.Context(), fmt.Sprint(i, ".test"))
		}
		if n := len(c.hosts); n != maxHosts {
			t.Errorf("%d hosts", n)
		}
		if n := r.count(); n != 1+2*maxHosts {
			t.Errorf("%d lookups", n)
		}
	})
}

// The order is that of the resolver, with the families by turns and each address
// once.
func TestAddressFamiliesTakeTurns(t *testing.T) {
	for _, test := range [][2][]string{
		{{"192.0.2.1", "192.0.2.2", "2001:db8::1"}, {"192.0.2.1", "2001:db8::1", "192.0.2.2"}},
		{{"2001:db8::1", "2001:db8::2", "192.0.2.1", "192.0.2.2", "192.0.2.3"}, {"2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "192.0.2.3"}},
		{{"::ffff:192.0.2.1", "192.0.2.1"}, {"192.0.2.1"}},
		{},
	} {
		if got := order(parse(test[0]...)); !slices.Equal(got, parse(test[1]...)) {
			t.Errorf("%v: %v, want %v", test[0], got, test[1])
		}
	}
}
