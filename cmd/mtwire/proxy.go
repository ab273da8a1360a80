package main

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/obfuscation"
	"github.com/mtwire/mtwire/proxy"
	"github.com/spf13/cobra"
)

func proxyCommand() *cobra.Command {
	var listen, server string
	var secretTexts, dcTexts []string
	var verbose bool
	cmd := &cobra.Command{
		Use:   "proxy",
		Short: "Run an MTProxy server",
		Long: `Run an MTProxy server for clients that know the secret: classic, dd and ee
(FakeTLS) alike. Without --secret it makes one, good until it stops. The link
to give to clients is printed on standard output.

Whoever does not know the secret gets no answer.`,
		Example: `  mtwire proxy
  mtwire proxy --listen 127.0.0.1:3128 --secret dd0123456789abcdef0123456789abcdef
  mtwire proxy --dc 2=127.0.0.1:7443 --dc -2=127.0.0.1:7444 --dc '*=127.0.0.1:7443'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			secrets, err := parseSecrets(secretTexts)
			if err != nil {
				return err
			}
			dcs, err := parseDCs(dcTexts)
			if err != nil {
				return err
			}
			level := slog.LevelInfo
			if verbose {
				level = slog.LevelDebug
			}
			var users []proxy.User
			for _, secret := range secrets {
				users = append(users, proxy.User{Secret: secret})
			}
			p, err := proxy.New(proxy.Config{
				Users: users, DataCenters: dcs,
				Log: slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level})),
			})
			if err != nil {
				return err
			}
			ln, err := net.Listen("tcp", listen)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "listening on %v\n", ln.Addr())
			if err := printLinks(cmd.OutOrStdout(), server, ln.Addr(), secrets); err != nil {
				ln.Close()
				return err
			}
			return unlessEnded(cmd.Context(), p.Serve(cmd.Context(), ln))
		},
	}
	cmd.Flags().StringVar(&listen, "listen", ":8443", "address to listen on")
	cmd.Flags().StringVar(&server, "server", "", "name or address for the link (default: the address listened on, or one of this machine's)")
	cmd.Flags().StringArrayVar(&secretTexts, "secret", nil, "secret in hex or base64 (repeatable; default: a new dd secret)")
	cmd.Flags().StringArrayVar(&dcTexts, "dc", nil, "where a data centre is, as ID=HOST:PORT, '*' for all (repeatable)")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "log refused connections as well")
	return cmd
}

func parseSecrets(texts []string) (secrets []obfuscation.Secret, err error) {
	for _, text := range texts {
		secret, err := mtwire.ParseSecret(text)
		if err != nil {
			return nil, fmt.Errorf("--secret: %w", err)
		}
		secrets = append(secrets, secret)
	}
	if len(secrets) == 0 {
		secret, err := obfuscation.NewSecret(nil, obfuscation.Padded, "")
		if err != nil {
			return nil, err
		}
		secrets = append(secrets, secret)
	}
	return secrets, nil
}

// parseDCs reads ID=HOST:PORT. The ID is signed, or "*" for all others, which
// the proxy knows as 0.
func parseDCs(texts []string) (map[obfuscation.DC]string, error) {
	dcs := make(map[obfuscation.DC]string)
	for _, text := range texts {
		id, address, ok := strings.Cut(text, "=")
		if !ok {
			return nil, fmt.Errorf("--dc %q: want ID=HOST:PORT", text)
		}
		dc := obfuscation.DC(0)
		if id != "*" {
			var err error
			if dc, err = obfuscation.ParseDC(id); err != nil {
				return nil, fmt.Errorf("--dc %q: %w", text, err)
			}
			if dc == 0 {
				return nil, fmt.Errorf("--dc %q: no data centre has number 0; '*' stands for all", text)
			}
		}
		if _, err := checkAddress(address); err != nil {
			return nil, fmt.Errorf("--dc %q: %w", text, err)
		}
		if _, ok := dcs[dc]; ok {
			return nil, fmt.Errorf("--dc %s is given twice", id)
		}
		dcs[dc] = address
	}
	return dcs, nil
}

// checkAddress reads host:port.
func checkAddress(address string) (port uint16, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return 0, fmt.Errorf("address %q: want HOST:PORT", address)
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("address %q: port is not between 1 and 65535", address)
	}
	return uint16(n), nil
}

// printLinks prints the link of each secret.
func printLinks(w io.Writer, server string, listening net.Addr, secrets []obfuscation.Secret) error {
	address, err := netip.ParseAddrPort(listening.String())
	if err != nil {
		return err
	}
	if server == "" {
		server = address.Addr().String()
		if address.Addr().IsUnspecified() {
			server = ownAddress()
		}
	}
	for _, secret := range secrets {
		link := obfuscation.Link{Server: server, Port: address.Port(), Secret: secret}
		fmt.Fprintln(w, link)
	}
	return nil
}

// ownAddress is an address of this machine that others may reach, or else
// loopback: for a link, when listening on all addresses and not told a name.
func ownAddress() string {
	addresses, err := net.InterfaceAddrs()
	if err == nil {
		for _, a := range addresses {
			prefix, err := netip.ParsePrefix(a.String())
			if ip := prefix.Addr(); err == nil && ip.IsGlobalUnicast() && ip.Is4() {
				return ip.String()
			}
		}
	}
	return "127.0.0.1"
}
