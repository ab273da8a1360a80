package main

import (
	"bufio"
	"context"
	"fmt"
	"strconv"

	"github.com/mtwire/mtwire/internal/tools/loadgen"
	"github.com/spf13/cobra"
)

const keepAwakeName = "keep-awake"

// startKeepAwake starts a process that keeps processors awake, until stop is called.
func startKeepAwake(ctx context.Context, processors []int) (stop func(), err error) {
	args := []string{keepAwakeName}
	for _, number := range processors {
		args = append(args, strconv.Itoa(number))
	}
	p, err := newBenchProcess(ctx, args...)
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	if _, err := bufio.NewReader(p).ReadString('\n'); err != nil {
		p.stop()
		return nil, fmt.Errorf("%s: %w", keepAwakeName, err)
	}
	return p.stop, nil
}

// keepAwakeCommand is the command of startKeepAwake's process.
func keepAwakeCommand() *cobra.Command {
	return &cobra.Command{
		Use:    keepAwakeName + " PROCESSOR...",
		Short:  "Keep processors from sleeping while standard input is open",
		Hidden: true,
		Args:   cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			processors := make([]int, len(args))
			for i, arg := range args {
				var err error
				if processors[i], err = strconv.Atoi(arg); err != nil {
					return err
				}
			}
			ctx, cancel := whileInputIsOpen(cmd)
			defer cancel()
			return loadgen.KeepAwake(ctx, processors, func() { fmt.Fprintln(cmd.OutOrStdout(), "ready") })
		},
	}
}
