package main

import (
	"context"
	"io"
	"os"
	"os/exec"

	"github.com/spf13/cobra"
)

// benchProcess is another process of this program, which does a part of a benchmark until
// its standard input is closed. Writes go to that, and reads are of its standard output.
type benchProcess struct {
	io.Reader
	io.WriteCloser
	cmd *exec.Cmd
}

// newBenchProcess returns a process that is to be started. Its standard error is that of
// this process.
func newBenchProcess(ctx context.Context, args ...string) (*benchProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &benchProcess{cmd: exec.CommandContext(ctx, self, args...)}
	p.cmd.Stderr = os.Stderr
	if p.WriteCloser, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if p.Reader, err = p.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	return p, nil
}

// stop ends the process, which has been started.
func (p *benchProcess) stop() {
	p.Close()
	p.cmd.Wait() // a process that failed has failed the phase
}

// whileInputIsOpen returns a context that ends with the standard input of a benchProcess.
func whileInputIsOpen(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(cmd.Context())
	go func() {
		io.Copy(io.Discard, cmd.InOrStdin())
		cancel()
	}()
	return ctx, cancel
}
