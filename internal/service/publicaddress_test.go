package service

import (
	"strings"
	"testing"
)

func TestPublicAddressesInEveryForm(t *testing.T) {
	for text, want := range map[string]PublicAddress{
		"proxy.example.com":        {Host: "proxy.example.com"},
		" proxy.example.com:443\n": {Host: "proxy.example.com", Port: 443},
		"198.51.100.7":             {Host: "198.51.100.7"},
		"198.51.100.7:443":         {Host: "198.51.100.7", Port: 443},
		"2001:db8::1":              {Host: "2001:db8::1"},
		"[2001:db8::1]":            {Host: "2001:db8::1"},
		"[2001:db8::1]:443":        {Host: "2001:db8::1", Port: 443},
		"прокси.рф":                {Host: "прокси.рф"},
		":443":                     {Port: 443},
		"auto":                     {STUN: "auto"},
		"auto:443":                 {STUN: "auto", Port: 443},
		"stun:stun.example":        {STUN: "stun.example:3478"},
		"stun:stun.example:19302":  {STUN: "stun.example:19302"},
		"stun:[2001:db8::1]":       {STUN: "[2001:db8::1]:3478"},
	} {
		got := unmarshal[PublicAddress](t, text)
		if got != want {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
		if again := unmarshal[PublicAddress](t, got.String()); again != got {
			t.Errorf("%q is printed as %q, which is %+v", text, got, again)
		}
	}
}

func TestPublicAddressThatMakesNoLinkIsAnError(t *testing.T) {
	for text, want := range map[string]string{
		"":                    "an empty address",
		"0.0.0.0":             "stands for all addresses",
		"[::]:443":            "stands for all addresses",
		"fe80::1%eth0":        "zone",
		"host:0":              "not a number from 1 to 65535",
		"host:https":          "not a number from 1 to 65535",
		"https://host":        "without https://",
		"https://host:443/":   "without https://",
		"host/path":           "a slash",
		"two hosts":           "a space",
		"host:":               "a colon",
		"2001:db8::1:443:1::": "a colon",
		"stun:":               "server is empty",
		"stun:host/x":         "a slash",
	} {
		p := PublicAddress{Host: "before"}
		err := p.UnmarshalText([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "link") || p.Host != "before" {
			t.Errorf("%q: %+v, %v", text, p, err)
		}
	}
}
