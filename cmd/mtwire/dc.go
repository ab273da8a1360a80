package main

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/spf13/cobra"
)

func dcCommand() *cobra.Command {
	var listen, certificate string
	var secrets []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "dc",
		Short: "Run a data centre for loopback, to point clients and proxies at",
		Long: `Run a data centre for loopback, every transport on one port: plain framings,
obfuscated, WebSocket and HTTP, these two with TLS as well. The certificate is
made anew and signed by itself: --certificate writes it to a file, which Go
programs on Linux trust when SSL_CERT_FILE names it. With --secret it also takes
MTProxy clients, FakeTLS included.

It answers req_pq and req_pq_multi with resPQ, and everything that it cannot
decrypt with transport error 404, as a data centre does. What connects is told
on standard output, one line for each event.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := dcConfig(secrets)
			if err != nil {
				return err
			}
			if certificate != "" {
				block := &pem.Block{Type: "CERTIFICATE", Bytes: config.TLS.Certificates[0].Certificate[0]}
				if err := os.WriteFile(certificate, pem.EncodeToMemory(block), 0o644); err != nil {
					return err
				}
			}
			ln, err := mtwire.Listen("tcp", listen, config)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(cmd.ErrOrStderr(), "listening on %v\n", ln.Addr())
			dc := &mtwiretest.DataCenter{Listener: ln, Log: func(e mtwiretest.Event) { fmt.Fprintln(out, e) }}
			if asJSON {
				encoder := json.NewEncoder(out)
				dc.Log = func(e mtwiretest.Event) { encoder.Encode(e) }
			}
			return unlessEnded(cmd.Context(), dc.Serve(cmd.Context()))
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:7443", "address to listen on")
	cmd.Flags().StringArrayVar(&secrets, "secret", nil, "also take MTProxy clients with this secret (repeatable)")
	cmd.Flags().StringVar(&certificate, "certificate", "", "write the TLS certificate to this file")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON lines")
	return cmd
}

// dcConfig is every transport there is.
func dcConfig(secrets []string) (*mtwire.ListenConfig, error) {
	config := &mtwire.ListenConfig{AllowNoSecret: true, ObfuscatedFull: true}
	for _, text := range secrets {
		secret, err := mtwire.ParseSecret(text)
		if err != nil {
			return nil, err
		}
		config.Secrets = append(config.Secrets, secret)
	}
	var err error
	config.TLS, _, err = mtwiretest.Certificate()
	return config, err
}
