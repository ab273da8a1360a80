package service

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// interfaceOf returns an interface that is up: a name, with > behind it for a tunnel
// and ! for one that is down, and addresses.
func interfaceOf(text string) networkInterface {
	fields := strings.Fields(text)
	i := networkInterface{name: strings.TrimRight(fields[0], "!>"), flags: net.FlagUp}
	if strings.HasSuffix(fields[0], ">") {
		i.flags |= net.FlagPointToPoint
	}
	if strings.HasSuffix(fields[0], "!") {
		i.flags = 0
	}
	for _, address := range fields[1:] {
		i.addresses = append(i.addresses, netip.MustParseAddr(address))
	}
	return i
}

// testMachine is a machine with the interfaces of lines, the names of names, and the
// address that STUN servers see.
func testMachine(lines []string, names map[string]string, seen string) *machine {
	var interfaces []networkInterface
	for _, line := range lines {
		interfaces = append(interfaces, interfaceOf(line))
	}
	temporary := map[netip.Addr]bool{netip.MustParseAddr("2a01:db9::7e3f"): true}
	return &machine{
		own: ownAddresses(interfaces, temporary),
		lookup: func(_ context.Context, host string) (resolved []netip.Addr, err error) {
			for _, address := range strings.Fields(names[host]) {
				resolved = append(resolved, netip.MustParseAddr(address))
			}
			return resolved, nil
		},
		askSTUN: func(_ context.Context, network, server string) (netip.Addr, error) {
			ip, err := netip.ParseAddr(seen)
			if err == nil && ip.Is4() != (network == "udp4") {
				err = errors.New("network is unreachable")
			}
			return ip, err
		},
	}
}

// endpointsOf returns the endpoints of addresses with the port 8443.
func endpointsOf(t *testing.T, listen string) (endpoints []endpoint) {
	for _, text := range strings.Fields(listen) {
		a := unmarshal[ListenAddress](t, text)
		host, _, _ := net.SplitHostPort(a.Address)
		ip, err := netip.ParseAddr(host)
		if err != nil {
			ip = netip.IPv6Unspecified()
		}
		port := netip.MustParseAddrPort("0.0.0.0" + a.Address[strings.LastIndex(a.Address, ":"):]).Port()
		endpoints = append(endpoints, endpoint{a.Network, ip, port})
	}
	return endpoints
}

const private = "the link has the private address"

// The address in the links, for sets of interfaces.
func TestLinkNamesTheAddressThatReachesFarthest(t *testing.T) {
	const lo = "lo 127.0.0.1 ::1"
	for name, test := range map[string]struct {
		interfaces   []string
		listen       string // :8443 if it is empty
		names, want  string
		notes        string // the beginning of the only note
		public, seen string
	}{
		"a server": {interfaces: []string{lo, "eth0 198.51.100.7 fe80::1"}, want: "198.51.100.7:8443"},
		"a server with Docker, whose bridge is first": {
			interfaces: []string{lo, "docker0 172.17.0.1", "br-0123456789ab 172.18.0.1", "veth12 169.254.1.1", "eth0 198.51.100.7"}, want: "198.51.100.7:8443"},
		"public after private, on one interface": {interfaces: []string{lo, "eth0 10.0.0.2 198.51.100.7"}, want: "198.51.100.7:8443"},
		"Tailscale is first":                     {interfaces: []string{lo, "tailscale0> 100.101.1.2 fd7a:115c:a1e0::1", "eth0 198.51.100.7"}, want: "198.51.100.7:8443"},
		"a carrier's address before private": {interfaces: []string{lo, "eth0 192.168.1.2", "ppp0> 100.64.3.4"}, want: "100.64.3.4:8443",
			notes: "the link has the address 100.64.3.4 of a carrier's network or a VPN"},
		"behind a router": {interfaces: []string{lo, "eth0 192.168.1.2 fe80::1"}, want: "192.168.1.2:8443", notes: private + " 192.168.1.2, because the proxy listens on no public one; --public HOST[:PORT]"},
		"behind a router, with a VPN that is first": {
			interfaces: []string{lo, "wg0> 10.8.0.2", "eth0 192.168.1.2"}, want: "192.168.1.2:8443", notes: private},
		"behind a router, with virtual machines": {
			interfaces: []string{lo, "virbr0 192.168.122.1", "lxdbr0 10.1.1.1", "vmnet8 172.16.5.1", "vboxnet0 192.168.56.1", "wlan0 192.168.1.2"}, want: "192.168.1.2:8443", notes: private},
		"a router, whose bridge is a real network": {interfaces: []string{lo, "br-lan 192.168.1.1", "docker0 172.17.0.1"}, want: "192.168.1.1:8443", notes: private},
		"a container":                       {interfaces: []string{lo, "eth0 172.17.0.2"}, want: "172.17.0.2:8443", notes: private},
		"an interface that is down":         {interfaces: []string{lo, "eth1! 198.51.100.9", "eth0 10.0.0.2"}, want: "10.0.0.2:8443", notes: private},
		"nothing but virtual bridges":       {interfaces: []string{lo, "docker0 172.17.0.1"}, want: "127.0.0.1:8443", notes: "the link works on this machine only"},
		"no interface":                      {want: "127.0.0.1:8443", notes: "the link works on this machine only"},
		"a VPN that fakes addresses":        {interfaces: []string{lo, "utun4> 198.18.0.1", "en0 192.168.1.2"}, want: "192.168.1.2:8443", notes: private},
		"public IPv6 behind an IPv4 router": {interfaces: []string{lo, "eth0 192.168.1.2 2a01:db9::1"}, want: "[2a01:db9::1]:8443", notes: "the link has an IPv6 address"},
		"both families":                     {interfaces: []string{lo, "eth0 2a01:db9::1 198.51.100.7"}, want: "198.51.100.7:8443"},
		"both families, IPv6 listened on":   {interfaces: []string{lo, "eth0 2a01:db9::1 198.51.100.7"}, listen: "[::]:8443", want: "[2a01:db9::1]:8443", notes: "the link has an IPv6 address"},
		"both families, IPv4 listened on":   {interfaces: []string{lo, "eth0 2a01:db9::1 10.0.0.2"}, listen: "0.0.0.0:8443", want: "10.0.0.2:8443", notes: private},
		"a temporary address is first":      {interfaces: []string{lo, "eth0 2a01:db9::7e3f 2a01:db9::1"}, want: "[2a01:db9::1]:8443", notes: "the link has an IPv6 address"},
		"IPv6 listened on, and none":        {interfaces: []string{lo, "eth0 10.0.0.2"}, listen: "[::]:8443", want: "[::1]:8443", notes: "the link works on this machine only"},

		"both families listened on apart":       {interfaces: []string{lo, "eth0 2a01:db9::1 198.51.100.7"}, listen: "[::]:8443 0.0.0.0:8443", want: "198.51.100.7:8443"},
		"a private address listened on":         {interfaces: []string{lo, "eth0 198.51.100.7", "eth1 10.0.0.2"}, listen: "10.0.0.2:8443", want: "10.0.0.2:8443", notes: private + " 10.0.0.2, because the proxy listens on no public one; --public HOST"},
		"one address listened on":               {interfaces: []string{lo, "eth0 198.51.100.7 198.51.100.8"}, listen: "198.51.100.8:443", want: "198.51.100.8:443"},
		"loopback listened on":                  {interfaces: []string{lo, "eth0 198.51.100.7"}, listen: "127.0.0.1:8443", want: "127.0.0.1:8443", notes: "the link works on this machine only"},
		"loopback listened on, then all":        {interfaces: []string{lo, "eth0 198.51.100.7"}, listen: "127.0.0.1:1000 :443", want: "198.51.100.7:443"},
		"two ports: the first":                  {interfaces: []string{lo, "eth0 198.51.100.7"}, listen: ":443 :8443", want: "198.51.100.7:443"},
		"a name of this machine":                {interfaces: []string{lo, "eth0 198.51.100.7 2a01:db9::1"}, names: "198.51.100.7 2a01:db9::1", want: "site.example:8443"},
		"a name of this machine in its network": {interfaces: []string{lo, "eth0 192.168.1.2"}, names: "192.168.1.2", want: "site.example:8443"},
		"a name of this machine and another":    {interfaces: []string{lo, "eth0 198.51.100.7"}, names: "198.51.100.7 198.51.100.9", want: "198.51.100.7:8443"},
		"a name of another machine":             {interfaces: []string{lo, "eth0 198.51.100.7"}, names: "203.0.113.5", want: "198.51.100.7:8443"},
		"a name in /etc/hosts":                  {interfaces: []string{lo, "eth0 198.51.100.7"}, names: "127.0.1.1", want: "198.51.100.7:8443"},
		"a name of an address not listened on":  {interfaces: []string{lo, "eth0 198.51.100.7 198.51.100.8"}, listen: "198.51.100.8:443", names: "198.51.100.7", want: "198.51.100.8:443"},

		"a configured name":            {interfaces: []string{lo, "eth0 10.0.0.2"}, public: "proxy.example", want: "proxy.example:8443"},
		"a configured name and port":   {interfaces: []string{lo, "eth0 10.0.0.2"}, names: "10.0.0.2", public: "proxy.example:443", want: "proxy.example:443"},
		"a configured port":            {interfaces: []string{lo, "eth0 198.51.100.7"}, public: ":443", want: "198.51.100.7:443"},
		"configured, a Unix socket":    {listen: " ", public: "proxy.example:443", want: "proxy.example:443"},
		"STUN, no translation":         {interfaces: []string{lo, "eth0 198.51.100.7"}, public: "auto", seen: "198.51.100.7", want: "198.51.100.7:8443"},
		"STUN, behind a router":        {interfaces: []string{lo, "eth0 192.168.1.2"}, public: "auto", seen: "198.51.100.7", want: "198.51.100.7:8443", notes: "this machine is behind address translation: the router of 198.51.100.7 must forward port 8443 to 192.168.1.2:8443"},
		"STUN, a router's port":        {interfaces: []string{lo, "eth0 192.168.1.2"}, public: "auto:443", seen: "198.51.100.7", want: "198.51.100.7:443", notes: "this machine is behind address translation: the router of 198.51.100.7 must forward port 443 to 192.168.1.2:8443"},
		"STUN, a name":                 {interfaces: []string{lo, "eth0 10.0.0.2"}, names: "198.51.100.7", public: "auto", seen: "198.51.100.7", want: "site.example:8443"},
		"a name behind a router":       {interfaces: []string{lo, "eth0 10.0.0.2"}, names: "198.51.100.7", want: "10.0.0.2:8443", notes: private},
		"STUN over IPv6":               {interfaces: []string{lo, "eth0 10.0.0.2 2a01:db9::1"}, public: "stun:stun.example", seen: "2a01:db9::1", want: "[2a01:db9::1]:8443"},
		"STUN without an answer":       {interfaces: []string{lo, "eth0 198.51.100.7"}, public: "auto", want: "198.51.100.7:8443", notes: "no STUN server has told this machine's address: "},
		"STUN that sees a useless one": {interfaces: []string{lo, "eth0 198.51.100.7"}, public: "auto", seen: "127.0.0.1", want: "198.51.100.7:8443", notes: "no STUN server has told"},
	} {
		t.Run(name, func(t *testing.T) {
			if test.listen == "" {
				test.listen = ":8443"
			}
			m := testMachine(test.interfaces, map[string]string{"site.example": test.names}, test.seen)
			var public PublicAddress
			if test.public != "" {
				public = unmarshal[PublicAddress](t, test.public)
			}
			r := m.find(t.Context(), public, endpointsOf(t, test.listen), []string{"other.example", "site.example"})
			if got := net.JoinHostPort(r.host, portText(r.port)); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
			if test.notes == "" && len(r.notes) > 0 || test.notes != "" && (len(r.notes) != 1 || !strings.HasPrefix(r.notes[0], test.notes)) {
				t.Errorf("notes %q, want %q", r.notes, test.notes)
			}
		})
	}
}

// A STUN server is asked only if the configuration has it.
func TestSTUNServersAreNotAskedUnlessConfigured(t *testing.T) {
	m := testMachine([]string{"eth0 10.0.0.2"}, nil, "")
	m.askSTUN = func(context.Context, string, string) (netip.Addr, error) {
		t.Error("a STUN server is asked")
		return netip.Addr{}, nil
	}
	m.find(t.Context(), PublicAddress{}, endpointsOf(t, ":8443"), nil)
	m.find(t.Context(), PublicAddress{Host: "proxy.example"}, endpointsOf(t, ":8443"), nil)
}

// Auto asks all default servers, and one answer is enough.
func TestOneAnswerOfTheSTUNServersIsEnough(t *testing.T) {
	m := testMachine([]string{"eth0 10.0.0.2"}, nil, "")
	m.askSTUN = func(ctx context.Context, network, server string) (netip.Addr, error) {
		if server == stunServers[0] {
			<-ctx.Done()
			return netip.Addr{}, ctx.Err()
		}
		return netip.MustParseAddr("198.51.100.7"), nil
	}
	if r := m.find(t.Context(), PublicAddress{STUN: publicAuto}, endpointsOf(t, ":8443"), nil); r.host != "198.51.100.7" {
		t.Errorf("%+v", r)
	}
}

// Linux's table of IPv6 addresses, with flags 01 for a temporary address and 20 for a
// deprecated one.
func TestTemporaryAddressesAreReadFromTheTable(t *testing.T) {
	got := temporaryAddresses(`20010db8000000000000000000000001 02 40 00 01     eth0
20010db8000000000000000000000002 02 40 00 80     eth0
20010db8000000000000000000000003 02 40 00 20     eth0
fe800000000000000000000000000001 02 40 20 80     eth0
a line
20010db80000000000000000000000 02 40 00 01       short
20010db8000000000000000000000004 02 40 00 zz     eth0
`)
	var texts []string
	for ip := range got {
		texts = append(texts, ip.String())
	}
	slices.Sort(texts)
	if !slices.Equal(texts, []string{"2001:db8::1", "2001:db8::3"}) {
		t.Error(texts)
	}
}
