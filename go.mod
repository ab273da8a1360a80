module github.com/mtwire/mtwire

go 1.26.0

require (
	// faketls: key shares for which no private key is needed, by the author of the standard library's.
	filippo.io/edwards25519 v1.2.0
	// wsconn: WebSocket is not what this module is for; small, kept up, works on any net.Conn.
	github.com/coder/websocket v1.8.15
	// internal/service: sockets that systemd passes, by those who wrote the protocol.
	github.com/coreos/go-systemd/v22 v22.7.0
	// internal/service/netlist: a lookup among a hundred thousand networks takes tens of nanoseconds.
	github.com/gaissmai/bart v0.30.0
	// internal/service/config: TOML, by a parser that tells positions.
	github.com/pelletier/go-toml/v2 v2.4.3
	// internal/proxyheader: two formats with many corners, tried by many proxies.
	github.com/pires/go-proxyproto v0.15.0
	// internal/service/metrics: what Prometheus scrapes, by those who wrote the formats.
	github.com/prometheus/client_golang v1.24.1
	// internal/service/metrics: the type of what client_golang gathers, to which an upgrade adds.
	github.com/prometheus/client_model v0.6.2
	// faketls, internal/front: a ClientHello has to look like a current browser's, which uTLS follows.
	github.com/refraction-networking/utls v1.8.2
	// tests of cmd/mtwire: the command line as its user sees it.
	github.com/rogpeppe/go-internal v1.16.0
	// cmd/mtwire: commands, flags, help.
	github.com/spf13/cobra v1.10.2
	// cmd/mtwire: cobra's flags; their errors quote the text, and it may be a secret.
	github.com/spf13/pflag v1.0.9
	// internal/front: reads the hellos of TLS: of strangers, and of the hosts measured.
	golang.org/x/crypto v0.58.0
	// internal/route: the client's side of SOCKS5, by those who also write net.
	golang.org/x/net v0.62.0
	// internal/multibuffer: what the processor can do; readbuf, relay: poll, splice, epoll.
	golang.org/x/sys v0.49.0
	// cmd/mtwire: whether a file is a terminal, and its size, on every system.
	golang.org/x/term v0.47.0
	// cmd/mtwire: links as QR codes; pure Go, small, imports nothing itself.
	rsc.io/qr v0.2.0
)

require (
	github.com/andybalholm/brotli v1.0.6 // indirect
	github.com/beorn7/perks v1.0.1 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/klauspost/compress v1.19.1 // indirect
	github.com/kylelemons/godebug v1.1.0 // indirect
	github.com/munnerz/goautoneg v0.0.0-20191010083416-a7dc8b61c822 // indirect
	github.com/prometheus/common v0.70.1 // indirect
	github.com/prometheus/procfs v0.21.1 // indirect
	golang.org/x/tools v0.26.0 // indirect
	// Before v1.36.12 it has the linker keep every method: 2 MB more, with Go 1.26.
	google.golang.org/protobuf v1.36.12 // indirect
)
