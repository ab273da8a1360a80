package proxy

import (
	"maps"
	"testing"

	"github.com/mtwire/mtwire/mtproxy"
)

// FrontingHosts follows SetUsers, and has addresses that can be dialled.
func TestFrontingHostsAreThoseOfTheUsers(t *testing.T) {
	p, err := New(Config{
		Users:  numberedUsers(0, 1, mtproxy.FakeTLS, "A.example"),
		Fronts: map[string]Front{"b.example": {Address: "unix:/run/b", ProxyProtocol: ProxyProtocolV2}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	b := Front{Address: "unix:/run/b", ProxyProtocol: ProxyProtocolV2}
	if hosts := p.FrontingHosts(); !maps.Equal(hosts, map[string]Front{"a.example": {Address: "a.example:443"}, "b.example": b}) {
		t.Error(hosts)
	}
	if err := p.SetUsers(numberedUsers(0, 1, mtproxy.FakeTLS, "b.example")); err != nil {
		t.Fatal(err)
	}
	if hosts := p.FrontingHosts(); !maps.Equal(hosts, map[string]Front{"b.example": b}) {
		t.Error(hosts)
	}
}
