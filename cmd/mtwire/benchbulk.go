package main

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"

	"github.com/mtwire/mtwire/internal/tools/loadgen"
	"github.com/spf13/cobra"
)

const bulkLoadName = "bulk-load"

// bulkLoad is the process of the downloads and uploads beside a chat.
type bulkLoad struct {
	io.Reader
	io.WriteCloser // the process ends when it is closed
	cmd            *exec.Cmd
}

// startBulkLoad starts the process, which accepts from the socket of ln, too. The
// caller stops it.
func startBulkLoad(ctx context.Context, ln net.Listener) (*bulkLoad, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	socket, err := tcp.File()
	if err != nil {
		return nil, err
	}
	defer socket.Close()
	b := &bulkLoad{cmd: exec.CommandContext(ctx, self, bulkLoadName)}
	b.cmd.Stderr = os.Stderr
	b.cmd.ExtraFiles = []*os.File{socket}
	if b.WriteCloser, err = b.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if b.Reader, err = b.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	if err := b.cmd.Start(); err != nil {
		return nil, err
	}
	// Start has made the socket blocking.
	return b, dontBlock(tcp)
}

func (b *bulkLoad) stop() {
	b.Close()
	b.cmd.Wait() // a process that failed has failed the phase
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
