package main

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/service"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/spf13/cobra"
)

func dcCommand() *cobra.Command {
	var certificate string
	listen := service.ListenAddress{Network: "tcp4", Address: "127.0.0.1:7443"}
	var secrets []service.NamedSecret
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "dc",
		Short: "Run a loopback data centre for tests of clients and proxies",
		Long: `Run a loopback data centre for tests of clients and proxies, with every
transport on one port: the framings, plain and obfuscated, WebSocket and HTTP,
these two with TLS and without. The certificate is self-signed and made at the
start: --certificate writes it to a file, which Go programs on Linux trust when
SSL_CERT_FILE names it. With --secret the data centre also accepts MTProxy
clients, FakeTLS included.

The data centre answers req_pq and req_pq_multi with resPQ. It answers a message
that it cannot decrypt with transport error 404, as Telegram's data centres do.
Every connection and every request is a line on standard output.`,
		Example: `  mtwire dc
  mtwire dc --secret dd0123456789abcdef0123456789abcdef --json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config := &mtwire.ListenConfig{AllowNoSecret: true, ObfuscatedFull: true}
			for _, named := range secrets {
				config.Secrets = append(config.Secrets, named.Secret)
			}
			var err error
			if config.TLS, _, err = mtwiretest.Certificate(); err != nil {
				return err
			}
			if certificate != "" {
				block := &pem.Block{Type: "CERTIFICATE", Bytes: config.TLS.Certificates[0].Certificate[0]}
				if err := os.WriteFile(certificate, pem.EncodeToMemory(block), 0o644); err != nil {
					return fmt.Errorf("--certificate: %w", err)
				}
			}
			ln, err := mtwire.Listen(listen.Network, listen.Address, config)
			if err != nil {
				return hintListen(err, "--listen")
			}
			out := cmd.OutOrStdout()
			printStatus(cmd, "listening on %v", ln.Addr())
			dc := &mtwiretest.DataCenter{Listener: ln, Log: func(e mtwiretest.Event) { fmt.Fprintln(out, e) }}
			if asJSON {
				encoder := json.NewEncoder(out)
				dc.Log = func(e mtwiretest.Event) { encoder.Encode(e) }
			}
			return unlessEnded(cmd.Context(), dc.Serve(cmd.Context()))
		},
	}
	cmd.Flags().TextVar(&listen, "listen", listen, "`ADDRESS` to listen on")
	listVar(cmd.Flags(), &secrets, "secret", errorsNumbered, "also accept MTProxy clients with this `SECRET` (repeatable)")
	cmd.Flags().StringVar(&certificate, "certificate", "", "`FILE` to write the TLS certificate to")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print events as lines of JSON")
	return cmd
}
