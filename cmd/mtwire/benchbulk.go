package main

import (
	"context"
	"errors"
	"net"
	"os"

	"github.com/mtwire/mtwire/internal/tools/loadgen"
	"github.com/spf13/cobra"
)

const bulkLoadName = "bulk-load"

// startBulkLoad starts the process of the downloads and uploads beside a chat, which accepts
// from the socket of ln, too. The caller stops it.
func startBulkLoad(ctx context.Context, ln net.Listener) (*benchProcess, error) {
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	socket, err := tcp.File()
	if err != nil {
		return nil, err
	}
	defer socket.Close()
	b, err := newBenchProcess(ctx, bulkLoadName)
	if err != nil {
		return nil, err
	}
	b.cmd.ExtraFiles = []*os.File{socket}
	if err := b.cmd.Start(); err != nil {
		return nil, err
	}
	// Start has made the socket blocking.
	if err := dontBlock(tcp); err != nil {
		b.stop()
		return nil, err
	}
	return b, nil
}

// bulkLoadCommand is the command of startBulkLoad's process.
func bulkLoadCommand() *cobra.Command {
	return &cobra.Command{
		Use:    bulkLoadName,
		Short:  "Make the downloads and uploads that standard input asks for",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			ln, err := net.FileListener(os.NewFile(3, "listener")) // the first of ExtraFiles
			if err != nil {
				return err
			}
			dc, ctx := loadgen.NewDataCenter(ln), cmd.Context()
			return unlessEnded(ctx, loadgen.ServeBulk(ctx, dc, loadgen.LowerPriority(), cmd.InOrStdin(), cmd.OutOrStdout()))
		},
	}
}
