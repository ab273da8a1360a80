package main

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/mtwire/mtwire/internal/service"
	"github.com/mtwire/mtwire/internal/service/admin"
	"github.com/spf13/cobra"
)

// mtwire upgrade: another process in the place of a proxy that runs, over its admin listener.

func upgradeCommand() *cobra.Command {
	f := &userCommandFlags{config: service.Default()}
	var program string
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Replace a proxy that runs by another version, with its sessions",
		Long: `Have a proxy that runs start the program at its path again, or the one of --binary,
with the same arguments. The new process takes over the sockets and the live
sessions, and the old one ends. The new program checks the configuration first. If
it does not accept it, fails or hangs, the old process goes on, and the exit code
is 1. Sessions that cannot move are drained by the old process, for up to --drain.

Linux only. docs/upgrade.md has what moves, and how.`,
		Example: `  mtwire upgrade
  mtwire upgrade --json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.file.name(cmd, f.upgrade(cmd, program)) },
	}
	cmd.Flags().StringVar(&program, "binary", "", "`PATH` of the new program (default: that of the proxy's, where another one may be by now)")
	f.defineTarget(cmd)
	return cmd
}

// upgrade upgrades the proxy that the flags name, and prints the result.
func (f *userCommandFlags) upgrade(cmd *cobra.Command, program string) (err error) {
	if program != "" {
		if program, err = filepath.Abs(program); err != nil {
			return err
		}
	}
	target, err := f.target(cmd)
	if err != nil {
		return err
	}
	target.Command = "upgrade"
	operator, err := service.ConnectRunning(cmd.Context(), target)
	if err != nil {
		return err
	}
	if operator == nil {
		return fmt.Errorf("no proxy runs at %s: start mtwire proxy, or name its --config FILE, --state DIRECTORY or --socket PATH", target.RunningAt())
	}
	defer operator.Close()
	result, answer, err := operator.Upgrade(cmd.Context(), program)
	var refused *admin.Problem
	switch {
	case errors.As(err, &refused):
		return &exitError{1, err}
	case err != nil:
		return err
	case f.json:
		return printJSON(cmd.OutOrStdout(), answer.Document)
	}
	took := time.Duration(result.Took * float64(time.Second)).Round(time.Millisecond)
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "upgraded to %s, from %s\n", cmp.Or(result.To, "a version that is not known"), result.From)
	fmt.Fprintf(out, "process %d has taken over %d sessions in %v", result.PID, result.Sessions, took)
	if result.Left > 0 {
		fmt.Fprintf(out, "; the process before drains %d more", result.Left)
	}
	fmt.Fprintln(out)
	return nil
}
