// Mtwire is a tool for MTProto transports: an MTProxy server with its secrets and
// links, a loopback data centre, a demo of all transports, and a load generator for
// MTProxy servers.
package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/mtwire/mtwire/internal/hangup"
	"github.com/mtwire/mtwire/internal/logwriter"
	"github.com/spf13/cobra"
)

func main() {
	os.Exit(run())
}

// run executes the command line of the process and returns its exit code. SIGINT and
// SIGTERM end the command's context.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := rootCommand()
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	// The end of the process does not wait for a reader of its errors.
	stderr := logwriter.New(os.Stderr, func(int) []byte { return nil })
	defer stderr.Close(logPatience)
	if logsJSON(cmd, os.Args[1:]) {
		return logError((&logFlags{json: true}).logger(stderr, slog.LevelInfo), err)
	}
	return printError(stderr, err)
}

// reloadsAnnotation marks the commands that call hangup.Notify. SIGHUP ends the others.
const reloadsAnnotation = "reloads"

// rootCommand returns the command mtwire, with its subcommands.
func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:     "mtwire",
		Version: version(),
		Short:   "MTProto transports: proxy, test data centre, demo, load generator",
		Example: `  mtwire proxy
  mtwire demo`,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if _, reloads := cmd.Annotations[reloadsAnnotation]; !reloads {
				hangup.Release()
			}
			return checkPaths(cmd.Flags())
		},
		Args: noArguments, // a mistyped command is an error
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	// Without this flag cobra makes one with the shorthand -v, which is --verbose
	// for subcommands.
	root.Flags().Bool("version", false, "print the version")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return suggestFlag(cmd, nameFlag(err)) })
	root.AddCommand(proxyCommand(), userCommand(), upgradeCommand(), configCommand(), secretCommand(), linkCommand(), demoCommand(), dcCommand(), relayCommand(), benchCommand(), manCommand(), rawRelayCommand(), bulkLoadCommand(), keepAwakeCommand())
	root.InitDefaultCompletionCmd()
	useHelp(root)
	completeValues(root)
	return root
}

// version returns the module's version, the revision of a build from a checkout, and
// the Go version.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	text := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			text += " " + s.Value
		}
	}
	return text + " " + info.GoVersion
}

// unlessEnded returns err, or nil if it is that of ctx: a signal is the regular end
// of a server.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}
