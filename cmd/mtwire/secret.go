package main

import (
	"fmt"
	"log/slog"

	"github.com/mtwire/mtwire/internal/service"
	"github.com/spf13/cobra"
)

// userFlags are the flags of the commands that show or make secrets and links: those
// of mtwire proxy that are about users.
type userFlags struct {
	config service.Config
	file   configFile
}

// defineSources defines the flags that tell where secrets come from.
func (f *userFlags) defineSources(cmd *cobra.Command) {
	flags, c := cmd.Flags(), &f.config
	flags.SortFlags = false
	flags.StringVar(&f.file.path, "config", "", "configuration `FILE` of the proxy; flags override it")
	listVar(flags, &c.Secrets, "secret", errorsNumbered, "`SECRET` or NAME=SECRET of a user (repeatable)")
	flags.StringVar(&c.SecretsFile, "secrets", c.SecretsFile, "`FILE` with a SECRET or NAME=SECRET on each line")
}

// defineKept defines the flags of secrets that are made and kept.
func (f *userFlags) defineKept(cmd *cobra.Command) {
	flags, c := cmd.Flags(), &f.config
	flags.SortFlags = false
	flags.StringVar(&c.State, "state", c.State, "`DIRECTORY` with the kept secrets")
	flags.TextVar(&c.Domain, "domain", c.Domain, "`DOMAIN` to imitate")
	flags.TextVar(&c.Modes, "modes", c.Modes, "accepted `MODES`")
}

// warnings returns a log of warnings, on standard error.
func warnings(cmd *cobra.Command) *slog.Logger {
	return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

func secretCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "secret",
		Short: "Make and show secrets",
		Example: `  mtwire secret new alice
  mtwire secret show`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(secretNewCommand(), secretShowCommand())
	return cmd
}

func secretNewCommand() *cobra.Command {
	f := &userFlags{config: service.Default()}
	cmd := &cobra.Command{
		Use:   "new [NAME]",
		Short: "Make a secret, for a new user with that name",
		Long: `Make a secret and print it. With a name, the secret is kept, and its user added
to the users of mtwire proxy, beside the one of the first run. The proxy has the
user after SIGHUP, or its next start. To remove the user, remove the line in the
file that is printed on standard error.

The secret is of the mode in --modes that is hardest to detect. The domain of
an ee secret is that of the first user, unless --domain sets it.`,
		Example: `  mtwire secret new
  mtwire secret new alice
  mtwire secret new bob --domain www.example.org
  mtwire secret new --modes dd`,
		Args: atMostOneArgument("name"),
		RunE: func(cmd *cobra.Command, args []string) error { return nameFlag(f.newSecret(cmd, args)) },
	}
	f.defineKept(cmd)
	return cmd
}

func (f *userFlags) newSecret(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		secret, err := service.NewSecret(f.config)
		if err == nil {
			_, err = fmt.Fprintln(cmd.OutOrStdout(), secret)
		}
		return err
	}
	added, path, err := service.AddUser(f.config, args[0], warnings(cmd))
	if err != nil {
		return err
	}
	printStatus(cmd, "added %s to %s: mtwire proxy has the user after SIGHUP, or its next start", added.Name, path)
	_, err = fmt.Fprintln(cmd.OutOrStdout(), added.Secret)
	return err
}

func secretShowCommand() *cobra.Command {
	f := &userFlags{config: service.Default()}
	cmd := &cobra.Command{
		Use:   "show [NAME]",
		Short: "Show the secrets of users",
		Long: `Show the secrets of the users that mtwire proxy has with the same flags, as
NAME=SECRET, or the secret of one user. Without --config, --secret and --secrets
they are those that are kept in the state directory.`,
		Example: `  mtwire secret new alice
  mtwire secret show
  mtwire secret show alice`,
		Args: atMostOneArgument("name"),
		RunE: func(cmd *cobra.Command, args []string) error { return f.file.name(cmd, f.showSecrets(cmd, args)) },

		ValidArgsFunction: f.completeName,
	}
	f.defineSources(cmd)
	f.defineKept(cmd)
	return cmd
}

func (f *userFlags) showSecrets(cmd *cobra.Command, args []string) error {
	if err := f.file.load(cmd, &f.config); err != nil {
		return err
	}
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	secrets, notes, err := service.Secrets(f.config, name, warnings(cmd))
	if err != nil {
		return err
	}
	for _, note := range notes {
		printStatus(cmd, "%s", note)
	}
	for _, s := range secrets {
		text := s.Secret.String()
		if name == "" {
			text = s.Name + "=" + text
		}
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), text); err != nil {
			return err
		}
	}
	return nil
}

// completeName completes the name of one user, of those that the command can show.
func (f *userFlags) completeName(cmd *cobra.Command, given []string, begun string) (names []string, directive cobra.ShellCompDirective) {
	directive = cobra.ShellCompDirectiveNoFileComp
	if len(given) > 0 || f.file.load(cmd, &f.config) != nil {
		return nil, directive
	}
	return completions(userNames(f.config), given, begun), directive
}

// userNames returns the names of the users that a proxy with config would have, as far as
// they are known here. Those with several secrets are there several times.
func userNames(config service.Config) (names []string) {
	secrets, _, err := service.Secrets(config, "", slog.New(slog.DiscardHandler))
	if err != nil {
		return nil // a completion has no room for it
	}
	for _, s := range secrets {
		names = append(names, s.Name)
	}
	return names
}
