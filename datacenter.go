package mtwire

import (
	"net/netip"
	"strings"

	"github.com/mtwire/mtwire/obfuscation"
)

// DC is a data centre's number with its sign: negative is media, +10000 is
// test.
type DC = obfuscation.DC

// DataCentersDate is the day when the table of data centres was taken from
// what public clients carry. Addresses age: a client that has a connection
// asks help.getConfig, and help.getCdnConfig for CDN data centres.
const DataCentersDate = "2026-11-22"

// dataCenterRow is one line of the table. Addresses are separated by spaces,
// the ones to try first in front.
type dataCenterRow struct {
	dc         DC
	name       string // of NAME.web.telegram.org; "" if it has none
	ipv4, ipv6 string
}

// dataCenterTable is in the order of the public lists. Media and test have
// lines only where their addresses differ from, or are not, the main ones.
var dataCenterTable = [...]dataCenterRow{
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

	{obfuscation.CDN, "", "91.105.192.100", "2a0a:f280:203:a:5000::100"},
}

// dataCenterPorts are open on every address; 443 is the one that networks let
// through most often.
var dataCenterPorts = [...]uint16{443, 80, 5222}

// DataCenter says where a data centre is reached. The slices belong to the
// caller.
type DataCenter struct {
	// DC is the number that was asked for, with its sign.
	DC DC
	// Name is the host name's first label, as "venus". Data centres without a
	// WebSocket or HTTPS host have none.
	Name string
	// IPv4 and IPv6 have every address on port 443, then every address on 80,
	// then on 5222.
	IPv4, IPv6 []netip.AddrPort
}

// LookupDC returns where dc is reached, and false for a number that is in no
// list, 0 among them. A media number gets the media addresses if the data
// centre has any, otherwise the main ones; the result's DC is dc in any case,
// so that its sign goes on into the init payload.
//
// The table is that of DataCentersDate, and LookupDC does no I/O. It may be
// called concurrently.
func LookupDC(dc DC) (DataCenter, bool) {
	row, ok := lookupRow(dc)
	if !ok && dc.Media() {
		row, ok = lookupRow(-dc)
	}
	if !ok {
		return DataCenter{}, false
	}
	row.dc = dc
	return row.dataCenter(), true
}

func lookupRow(dc DC) (dataCenterRow, bool) {
	for _, row := range dataCenterTable {
		if row.dc == dc {
			return row, true
		}
	}
	return dataCenterRow{}, false
}

// DataCenters returns the whole table: production by number, then media where
// it has addresses of its own, test, and CDN.
func DataCenters() []DataCenter {
	all := make([]DataCenter, 0, len(dataCenterTable))
	for _, row := range dataCenterTable {
		all = append(all, row.dataCenter())
	}
	return all
}

func (row dataCenterRow) dataCenter() DataCenter {
	return DataCenter{DC: row.dc, Name: row.name, IPv4: addrPorts(row.ipv4), IPv6: addrPorts(row.ipv6)}
}

func addrPorts(list string) []netip.AddrPort {
	fields := strings.Fields(list)
	all := make([]netip.AddrPort, 0, len(fields)*len(dataCenterPorts))
	for _, port := range dataCenterPorts {
		for _, addr := range fields {
			all = append(all, netip.AddrPortFrom(netip.MustParseAddr(addr), port))
		}
	}
	return all
}

// Host returns the host name for WebSocket and HTTPS, as
// "venus.web.telegram.org". Media has the second name, "venus-1", which means
// the same and keeps downloads out of the first one's limit on requests. Host
// is "" if the data centre has no name.
func (d DataCenter) Host() string {
	switch {
	case d.Name == "":
		return ""
	case d.DC.Media():
		return d.Name + "-1.web.telegram.org"
	default:
		return d.Name + ".web.telegram.org"
	}
}

// WebSocketURL returns where the WebSocket carrier connects, as
// "wss://venus.web.telegram.org/apiws"; in the test environment the path is
// "/apiws_test". It is "" if the data centre has no name.
//
// Specification: https://core.telegram.org/mtproto/transports#websocket
func (d DataCenter) WebSocketURL() string { return d.url("wss", "/apiws", "/apiws_test") }

// HTTPSURL returns where the HTTPS carrier posts, as
// "https://venus.web.telegram.org/apiw1"; in the test environment the path is
// "/apiw_test1". These are the paths that clients use with host names; they
// answer with CORS headers, which does no harm outside a browser. It is "" if
// the data centre has no name.
//
// Specification: https://core.telegram.org/mtproto/transports#https
func (d DataCenter) HTTPSURL() string { return d.url("https", "/apiw1", "/apiw_test1") }

func (d DataCenter) url(scheme, path, testPath string) string {
	host := d.Host()
	if host == "" {
		return ""
	}
	if d.DC.Test() {
		path = testPath
	}
	return scheme + "://" + host + path
}
