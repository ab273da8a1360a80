package mtproxy_test

import (
	"fmt"

	"github.com/mtwire/mtwire/mtproxy"
)

func ExampleParseLink() {
	link, err := mtproxy.ParseLink("https://t.me/proxy?server=proxy.example.com&port=443" +
		"&secret=ee000102030405060708090a0b0c0d0e0f6578616d706c652e636f6d")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(link.Addr())
	fmt.Println(link.Secret.Mode, link.Secret.Domain)
	fmt.Println(link.Redacted()) // for logs: String includes the secret
	// Output:
	// proxy.example.com:443
	// faketls example.com
	// proxy.example.com:443 faketls:[redacted]:example.com
}

// A padded secret allows the modes dd and ee.
func ExampleModes() {
	secret, err := mtproxy.ParseSecret("dd000102030405060708090a0b0c0d0e0f")
	if err != nil {
		fmt.Println(err)
		return
	}
	modes := secret.Modes()
	fmt.Println(modes, modes&mtproxy.Classic != 0)
	// Output: dd,ee false
}
