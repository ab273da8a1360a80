package main

import (
	"fmt"

	"github.com/mtwire/mtwire/internal/service"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/webproxy"
	"github.com/spf13/cobra"
)

// linkFlags are the flags of mtwire link and mtwire link show.
type linkFlags struct {
	userFlags
	https bool
	qr    qrFlag
}

func linkCommand() *cobra.Command {
	f := &linkFlags{userFlags: userFlags{config: service.Default()}, qr: qrFlag{when: qrNever}}
	cmd := &cobra.Command{
		Use:   "link [NAME|LINK]",
		Short: "Print the links of users",
		Long: `Print the links of the users that mtwire proxy has with the same flags, or the
link of one user. If there are several, each has the name of its user in front.
The proxy need not be running. A LINK is printed in its usual form.`,
		Example: `  mtwire secret new alice
  mtwire link
  mtwire link --config mtwire.toml --public proxy.example.org
  mtwire link alice --public proxy.example.org:443
  mtwire link --https --secret dd0123456789abcdef0123456789abcdef --public 203.0.113.1:443`,
		Args: atMostOneArgument("name or link"),
		RunE: func(cmd *cobra.Command, args []string) error { return f.file.name(cmd, f.run(cmd, args)) },

		ValidArgsFunction: f.completeName,
	}
	f.define(cmd)
	cmd.Flags().BoolVar(&f.https, "https", false, "print https://t.me links, which also open in a browser")
	cmd.AddCommand(linkShowCommand())
	return cmd
}

func linkShowCommand() *cobra.Command {
	f := &linkFlags{userFlags: userFlags{config: service.Default()}}
	cmd := &cobra.Command{
		Use:   "show [NAME|LINK]",
		Short: "Show the links of users with QR codes",
		Long: `Show the links of users like mtwire link, with their QR codes above them, or
any LINK, which - reads from standard input. --qr FILE.png and --qr FILE.svg
write the code to a file.`,
		Example: `  mtwire secret new alice
  mtwire link show alice
  mtwire link show alice --qr alice.png
  mtwire link show 'tg://proxy?server=203.0.113.1&port=443&secret=3QEjRWeJq83vASNFZ4mrze8'`,
		Args: atMostOneArgument("name or link"),
		RunE: func(cmd *cobra.Command, args []string) error { return f.file.name(cmd, f.run(cmd, args)) },

		ValidArgsFunction: f.completeName,
	}
	f.define(cmd)
	f.qr.define(cmd.Flags())
	return cmd
}

func (f *linkFlags) define(cmd *cobra.Command) {
	flags, c := cmd.Flags(), &f.config
	flags.SortFlags = false
	f.defineSources(cmd)
	f.defineKept(cmd)
	flags.TextVar(&c.Public, "public", c.Public, "`HOST[:PORT]` that clients connect to; auto asks a public STUN server, stun:HOST[:PORT] this one")
	flags.TextVar(&c.Web, "web", c.Web, "`HOST` name of the proxy's web site, for its WEB links")
	flags.TextVar(&c.WebPath, "web-path", c.WebPath, "base `PATH` of the WEB links")
	listen := listVar(flags, &c.Listen, "listen", errorsQuote, "`ADDRESS` that the proxy listens on (repeatable)")
	flags.Var(portFlag{listen}, "port", "`PORT` that the proxy listens on, the same as --listen :PORT (repeatable)")
}

func (f *linkFlags) run(cmd *cobra.Command, args []string) error {
	links, err := f.links(cmd, args)
	if err != nil {
		return err
	}
	if f.https {
		for _, l := range links {
			if len(links) > 1 {
				fmt.Fprint(cmd.OutOrStdout(), l.User, " ")
			}
			fmt.Fprintln(cmd.OutOrStdout(), l.HTTPS())
		}
		return nil
	}
	return printLinks(cmd, links, f.qr)
}

// links returns the link that the argument is, or the links of the user that it names,
// or of all.
func (f *linkFlags) links(cmd *cobra.Command, args []string) ([]service.Link, error) {
	name := ""
	if len(args) > 0 {
		var err error
		if name, err = linkArgument(cmd.InOrStdin(), args[0]); err != nil {
			return nil, err
		}
	}
	if mtproxy.IsLink(name) || webproxy.IsLink(name) {
		link, err := parseLink(name)
		return []service.Link{link}, err
	}
	if err := f.file.load(cmd, &f.config); err != nil {
		return nil, err
	}
	links, notes, err := service.Links(cmd.Context(), f.config, name, warnings(cmd))
	if err != nil {
		return nil, err
	}
	for _, note := range notes {
		printStatus(cmd, "%s", note)
	}
	return links, nil
}

// parseLink parses a link of an MTProxy or of a WEB proxy.
func parseLink(text string) (link service.Link, err error) {
	if webproxy.IsLink(text) {
		link.Web, err = webproxy.ParseLink(text)
	} else {
		link.Link, err = mtproxy.ParseLink(text)
	}
	return link, err
}
