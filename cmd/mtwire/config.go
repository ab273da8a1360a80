package main

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/mtwire/mtwire/internal/service"
	"github.com/mtwire/mtwire/internal/service/config"
	"github.com/mtwire/mtwire/internal/service/migrate"
	"github.com/mtwire/mtwire/internal/service/watch"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The configuration file of mtwire proxy, and what flags override in it.

// configFile is the configuration file that --config names.
type configFile struct {
	path     string           // "" for none
	document *config.Document // nil for none
	settings service.Config   // of the file, without flags
	watched  watch.Files      // what is read again when it changes
	watching bool             // the key watch
	reading  sync.Mutex       // held from reading the file again until its settings are applied
}

// warn warns if other users may read the credentials of the file. It is called once, and
// gives up its settings.
func (f *configFile) warn(log *slog.Logger) {
	if f.document != nil {
		service.WarnOfReaders(f.path, f.settings, log)
	}
	f.settings = service.Config{}
}

// load reads the configuration file, if there is one, and sets the settings in force:
// flags override the keys of the file, and those override the defaults.
func (f *proxyFlags) load(cmd *cobra.Command) error {
	if err := f.file.load(cmd, &f.config); err != nil {
		return err
	}
	f.log.take(&f.config)
	return nil
}

// load reads the configuration file, if there is one, and sets c, which the command's
// flags have set, to the settings in force. If the error is a *config.Errors, they are
// those that could be decoded. A configuration of another program is no *config.Errors.
func (f *configFile) load(cmd *cobra.Command, c *service.Config) error {
	if f.path == "" {
		return nil
	}
	f.watched.Reading(f.path)
	fromFile, document, err := service.LoadFile(f.path)
	if document == nil {
		return &service.ConfigError{Setting: "config", Err: err}
	}
	if err != nil {
		if program := migrate.Detect(document.Text()); program != "" {
			return &service.ConfigError{Setting: "config", Err: fmt.Errorf(
				"%s is a configuration of %s: mtwire config import %[1]s --out mtwire.toml makes one of mtwire", f.path, program)}
		}
	}
	f.document, f.settings = document, fromFile
	*c = overrideFile(cmd.Flags(), fromFile)
	c.Position = document.Position
	return err
}

// overrideFile returns a file's settings with those of the flags that are given.
func overrideFile(given *pflag.FlagSet, fromFile service.Config) service.Config {
	over, scratch := &proxyFlags{config: fromFile}, &cobra.Command{}
	over.define(scratch)
	given.Visit(func(flag *pflag.Flag) {
		target := scratch.Flags().Lookup(flag.Name)
		if target == nil || !isSetting(flag.Name) {
			return
		}
		if setting, ok := flag.Value.(settingFlag); ok {
			setting.copyTo(target.Value)
			return
		}
		target.Value.Set(flag.Value.String()) // it was parsed before
	})
	return over.config
}

// isSetting reports whether a flag sets something that a configuration file has a key
// for.
func isSetting(flag string) bool {
	return flag == "port" || slices.Contains(config.Keys(service.Config{}), service.Key(flag))
}

// name names what an error is about: a position of the file, or a flag.
func (f *configFile) name(cmd *cobra.Command, err error) error {
	var setting *service.ConfigError
	if errors.As(err, &setting) && !f.overridden(cmd.Flags(), setting.Setting) {
		if named := service.NameError(err, f.document); named != err {
			return named
		}
	}
	return nameFlag(err)
}

// overridden reports whether a setting is one of a flag that is given.
func (f *configFile) overridden(flags *pflag.FlagSet, setting string) bool {
	setting, _, _ = strings.Cut(setting, "[")
	flag := flags.Lookup(setting)
	return flag != nil && flag.Changed || setting == "listen" && flags.Changed("port")
}

func configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "config",
		Short:   "Show the configuration of a proxy, or import that of another proxy",
		Example: "  mtwire config show --config mtwire.toml",
		Args:    noArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(configShowCommand(), configImportCommand())
	return cmd
}

func configShowCommand() *cobra.Command {
	f := &proxyFlags{config: service.Default()}
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print the settings in force",
		Long: `Print the settings that mtwire proxy has with the same flags: those of the
file, of flags, of the environment and the defaults, as a configuration file.
Each has its source behind it. Secrets and passwords are not printed: there are
placeholders for secrets, with which mtwire proxy --check checks the rest, and
upstreams with passwords are comments, as keys that are not set are.`,
		Example: "  mtwire config show --config mtwire.toml --port 443",
		Args:    noArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return f.file.name(cmd, f.show(cmd)) },
	}
	f.define(cmd)
	return cmd
}

// show prints the settings in force.
func (f *proxyFlags) show(cmd *cobra.Command) error {
	if err := f.load(cmd); err != nil {
		return err
	}
	inForce, fromEnvironment, err := service.InForce(f.config, warnings(cmd))
	if err != nil {
		return err
	}
	return config.Encode(cmd.OutOrStdout(), inForce, func(key string) string {
		flag := strings.ReplaceAll(key, "_", "-")
		switch line := f.file.document.Line(key); {
		case f.file.overridden(cmd.Flags(), flag):
			return "--" + flag
		case line > 0:
			return fmt.Sprintf("%s:%d", f.file.path, line)
		case fromEnvironment[key] != "":
			return fromEnvironment[key]
		}
		return "default"
	})
}
