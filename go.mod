module github.com/mtwire/mtwire

go 1.26.0

require (
	github.com/coder/websocket v1.8.15
	github.com/refraction-networking/utls v1.8.2
	github.com/spf13/cobra v1.10.2
)

require (
	github.com/andybalholm/brotli v1.0.6 // indirect
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/klauspost/compress v1.17.4 // indirect
	github.com/spf13/pflag v1.0.9 // indirect
	golang.org/x/crypto v0.36.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)
