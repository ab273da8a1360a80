package config

import (
	"strings"
	"testing"
)

func TestRedact(t *testing.T) {
	const key = "0123456789abcdef0123456789abcdef"
	for text, want := range map[string]string{
		`listen[0]: bad address "tg://proxy?server=a&port=443&secrte=AAECAwQFBgcICQoLDA0ODw": invalid port`: `listen[0]: bad address "tg://proxy?[redacted]": invalid port`,
		`"https://t.me/webproxy?server=a&secret=x" is no duration`:                                          `"https://t.me/webproxy?[redacted]" is no duration`,
		`open tcp://a:1?secret=AAECAwQFBgcICQoLDA0ODw&dc=2: no such file`:                                   `open tcp://a:1?secret=[redacted]&dc=2: no such file`,
		`bad data centre address "2=socks5://bob:hunter/2@10.0.0.1:1080": want`:                             `bad data centre address "2=socks5://[redacted]@10.0.0.1:1080": want`,
		`unknown mode "dd` + key + `": want classic`:                                                        `unknown mode "[redacted]": want classic`,
		`open alice=ee` + key + `7777772e: no such file or directory`:                                       `open alice=[redacted]: no such file or directory`,
		`open dd` + key + `zz: no such file or directory`:                                                   `open [redacted]: no such file or directory`,
		`unknown level "` + strings.ToUpper(key) + `"`:                                                      `unknown level "[redacted]"`,
		`unknown level "3QEjRWeJq83vASNFZ4mrze8"`:                                                           `unknown level "[redacted]"`,
		`unknown level "7gEjRWeJq83vASNFZ4mrze93d3cuZXhhbXBsZS5jb20="`:                                      `unknown level "[redacted]"`,
		`unknown level "ABEiM0RVZneImaq7zN3u_w"`:                                                            `unknown level "[redacted]"`,
		`unknown level "ABEiM0RVZneImaq7zN3u/w=="`:                                                          `unknown level "[redacted]"`,
		`open /etc/mtwire/ABEiM0RVZneImaq7zN3u/w: no such`:                                                  `open /etc/mtwire/[redacted]: no such`,
		`open alice=ABEiM0RVZneImaq7zN3u_w: no such`:                                                        `open alice=[redacted]: no such`,
		`unknown level "cAARIjNEVWZ3iJmqu8zd7v8"`:                                                           `unknown level "[redacted]"`,
		`unknown level "cN0AESIzRFVmd4iZqrvM3e7_"`:                                                          `unknown level "[redacted]"`,
		`unknown level "3QARIjNEVWZ3iJmqu8zd7v8=" and another`:                                              `unknown level "[redacted]" and another`,
		`unknown level "7gARIjNEVWZ3iJmqu8zd7v9hLmV4YW1wbGU="`:                                              `unknown level "[redacted]"`,
	} {
		if got := Redact(text); got != want {
			t.Errorf("%s\n got %s\nwant %s", text, got, want)
		}
	}
	for _, text := range []string{
		`want direct, wss://HOST/apiws, or a tg://proxy?... or tg://webproxy?... link`,
		`bad address "nowhere": want :PORT, HOST:PORT, [IPV6]:PORT or unix:/PATH`,
		`open /var/lib/docker/volumes/` + key + key + `/_data: permission denied`,
		`open /usr/local/lib/mtwire/w: permission denied`,
		`lookup long-host-name.example.org: no such host`,
		`unknown key "max_connections_per_ip"`,
		`github.com/mtwire/mtwire/cmd/mtwire.TestRedact`,
		`revision da39a3ee5e6b4b0d3255bfef95601890afd80709`,
		`https://acme-v02.api.letsencrypt.org/directory: x509: certificate of ops@example.com`,
	} {
		if got := Redact(text); got != text {
			t.Errorf("%s\n got %s", text, got)
		}
	}
}
