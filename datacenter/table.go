package datacenter

import (
	"net/netip"
	"strings"
)

// TableDate is the day when the table of data centres was copied from the lists
// in public clients. Addresses change: a connected client should call
// help.getConfig, and help.getCdnConfig for CDN data centres.
const TableDate = "2026-11-22"

// row is one line of the table. Addresses are separated by spaces, in the order
// in which to try them.
type row struct {
	dc         DC
	name       string // of NAME.web.telegram.org, or ""
	ipv4, ipv6 string
}

// table is in the order of the public lists. A media number has a row only if its
// addresses differ from the main data centre's.
var table = [...]row{
	{1, "pluto", "149.154.175.50", "2001:b28:f23d:f001::a"},
	{2, "venus", "149.154.167.51 95.161.76.100", "2001:67c:4e8:f002::a"},
	{3, "aurora", "149.154.175.100", "2001:b28:f23d:f003::a"},
	{4, "vesta", "149.154.167.91", "2001:67c:4e8:f004::a"},
	{5, "flora", "149.154.171.5", "2001:b28:f23f:f005::a"},

	{-2, "venus", "149.154.167.222", "2001:67c:4e8:f002::b"},
	{-4, "vesta", "149.154.166.120", "2001:67c:4e8:f004::b"},

	{10001, "pluto", "149.154.175.10", "2001:b28:f23d:f001::e"},
	{10002, "venus", "149.154.167.40", "2001:67c:4e8:f002::e"},
	{10003, "aurora", "149.154.175.117", "2001:b28:f23d:f003::e"},

	{CDN, "", "91.105.192.100", "2a0a:f280:203:a:5000::100"},
}

// ports are open on every address. Networks block 443 the least.
var ports = [...]uint16{443, 80, 5222}

// Location has the addresses and the host name of a data centre. The slices
// belong to the caller.
type Location struct {
	// DC is the argument of Lookup, with its sign.
	DC DC
	// Name is the host name's first label, such as "venus". It is "" for data
	// centres without a WebSocket and HTTPS host.
	Name string
	// IPv4 and IPv6 have every address on port 443, then every address on 80,
	// then on 5222.
	IPv4, IPv6 []netip.AddrPort
}

// Lookup returns the location of dc, or false if the table does not have it. For
// a media number it returns the media addresses if the data centre has its own,
// and the main ones otherwise. The result's DC is always dc, so that the init
// payload keeps the sign.
//
// The table is as of TableDate. Lookup does no I/O and may be called
// concurrently.
func Lookup(dc DC) (Location, bool) {
	r, ok := lookupRow(dc)
	if !ok && dc.Media() {
		r, ok = lookupRow(-dc)
	}
	if !ok {
		return Location{}, false
	}
	r.dc = dc
	return r.location(), true
}

func lookupRow(dc DC) (row, bool) {
	for _, r := range table {
		if r.dc == dc {
			return r, true
		}
	}
	return row{}, false
}

// Table returns the whole table: production by number, media with addresses of
// its own, test, and CDN.
func Table() []Location {
	all := make([]Location, 0, len(table))
	for _, r := range table {
		all = append(all, r.location())
	}
	return all
}

func (r row) location() Location {
	return Location{DC: r.dc, Name: r.name, IPv4: addrPorts(r.ipv4), IPv6: addrPorts(r.ipv6)}
}

func addrPorts(list string) []netip.AddrPort {
	fields := strings.Fields(list)
	all := make([]netip.AddrPort, 0, len(fields)*len(ports))
	for _, port := range ports {
		for _, addr := range fields {
			all = append(all, netip.AddrPortFrom(netip.MustParseAddr(addr), port))
		}
	}
	return all
}
