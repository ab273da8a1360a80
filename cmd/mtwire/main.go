// Mtwire is a tool for MTProto transports: a proxy, a data centre for
// loopback, a demo of all the transports there are, and a load generator for
// proxies.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use:           "mtwire",
		Version:       version(),
		Short:         "MTProto transports: proxy, test data centre, demo, load generator",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs, // so that a slip in a command's name is an error
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(proxyCommand(), demoCommand(), dcCommand(), benchCommand(), rawRelayCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		var failed *exitError
		if errors.As(err, &failed) {
			return failed.code
		}
		fmt.Fprintf(os.Stderr, "mtwire: %v\n", err)
		return 2
	}
	return 0
}

// version is the module's, and the revision if it was built from a checkout.
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

// exitError ends the program with a code, everything having been said.
type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("exit %d", e.code) }

// unlessEnded is err, or nil if ctx ended: somebody stopped the program, and
// that is how it is meant to end.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}
