package service

import (
	"context"
	"net"
	"strings"
	"testing"
)

// An inherited listener is matched with the address that it listens on.
func TestInheritedListenersAreMatched(t *testing.T) {
	v4 := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443}
	any4 := &net.TCPAddr{IP: net.IPv4zero.To4(), Port: 443}
	any6 := &net.TCPAddr{IP: net.IPv6unspecified, Port: 443}
	v6 := &net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Port: 443}
	socket := &net.UnixAddr{Net: "unix", Name: "/run/s"}
	all := []net.Addr{v4, any4, any6, v6, socket}
	for text, want := range map[string][]net.Addr{
		":443":              {any4, any6},
		":https":            {any4, any6},
		":8443":             nil,
		"0.0.0.0:443":       {any4},
		"[::]:443":          {any6},
		"192.0.2.1:443":     {v4},
		"[2001:db8::1]:443": {v6},
		"192.0.2.2:443":     nil,
		"localhost:443":     nil,
		"unix:/run/s":       {socket},
		"unix:/run/t":       nil,
	} {
		var address ListenAddress
		if err := address.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		var got []net.Addr
		for _, addr := range all {
			if address.isOf(addr) {
				got = append(got, addr)
			}
		}
		if len(got) != len(want) || len(got) > 0 && got[0] != want[0] {
			t.Errorf("%s is %v, want %v", text, got, want)
		}
	}
}

// Inherited listeners come after the configured addresses, and each is used once.
func TestInheritedListenersAreUsedOnce(t *testing.T) {
	var inherited []net.Listener
	for range 3 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		inherited = append(inherited, ln)
	}
	config := Config{
		Inherited: inherited,
		Listen:    []ListenAddress{{"tcp4", "127.0.0.1:0"}, {"tcp4", inherited[1].Addr().String()}},
	}
	listeners, err := config.listenAll(context.Background())
	if err != nil || len(listeners) != 4 {
		t.Fatalf("%v, %v", listeners, err)
	}
	defer listeners[0].Close()
	if listeners[1].Listener != inherited[1] || listeners[2].Listener != inherited[0] || listeners[3].Listener != inherited[2] {
		t.Errorf("%v, inherited %v", listeners, inherited)
	}
	config = Default()
	config.Listen, config.Inherited = nil, inherited
	if err := config.check(); err != nil {
		t.Error(err)
	}
	config.Inherited = nil
	if err := config.check(); err == nil || !strings.Contains(err.Error(), "no address") {
		t.Error(err)
	}
}
