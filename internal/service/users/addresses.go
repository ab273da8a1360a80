package users

import (
	"net/netip"
	"slices"
	"time"
)

// address is an address of a user's clients, or an IPv6 network of 64 bits.
type address struct {
	network netip.Addr
	clients int           // connections from there
	before  int           // those of the process before, and
	after   int           // of the one after: see elsewhere.go
	until   time.Duration // without connections, when it does not count any more
}

// addresses are those that count for Limits.MaxAddresses, with some that do not count
// any more. They are few: the limit and those that have come and gone since.
type addresses []address

// counts reports whether the address counts.
func (e *address) counts(now time.Duration) bool {
	return e.clients+e.before+e.after > 0 || e.until > now
}

// networkOf returns what counts as one address: IPv4 addresses as they are, and of IPv6
// ones the first 64 bits.
func networkOf(client netip.Addr) netip.Addr {
	client = client.Unmap().WithZone("")
	if client.Is6() {
		prefix, _ := client.Prefix(64)
		return prefix.Addr()
	}
	return client
}

// enter adds a connection, and reports whether its network did not count before. It adds
// none if it did not and most others do. A network that is invalid, of a Unix socket's
// client without an address, does not count.
func (a *addresses) enter(network netip.Addr, most int, now time.Duration) (entered, isNew bool) {
	if !network.IsValid() {
		return true, false
	}
	all := slices.DeleteFunc(*a, func(e address) bool { return !e.counts(now) })
	*a = all
	if i := all.index(network); i >= 0 {
		all[i].clients++
		return true, false
	}
	if len(all) >= most {
		return false, false
	}
	*a = append(all, address{network: network, clients: 1})
	return true, true
}

// add adds a connection without a limit.
func (a *addresses) add(network netip.Addr) {
	if i := a.index(network); i >= 0 {
		(*a)[i].clients++
	} else if network.IsValid() {
		*a = append(*a, address{network: network, clients: 1})
	}
}

// leave removes a connection. The address counts until the given time, or longer if it
// does so for a connection before.
func (a addresses) leave(network netip.Addr, until time.Duration) {
	if i := a.index(network); i >= 0 {
		a[i].clients--
		a[i].until = max(a[i].until, until)
	}
}

// count returns how many count.
func (a addresses) count(now time.Duration) (n int) {
	for _, e := range a {
		if e.counts(now) {
			n++
		}
	}
	return n
}

func (a addresses) index(network netip.Addr) int {
	return slices.IndexFunc(a, func(e address) bool { return e.network == network })
}
