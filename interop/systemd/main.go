// Command systemd boots a Debian system whose first process is systemd, installs mtwire
// and the unit of examples/systemd in it, and does what operators do. interop/systemd/run
// builds what it needs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/mtwire/mtwire/interop/live"
	"github.com/mtwire/mtwire/interop/process"
)

func main() {
	t := &trial{}
	flag.StringVar(&t.root, "root", "", "directory of the Debian system")
	flag.StringVar(&t.units, "units", "", "directory with the unit and the socket unit")
	flag.StringVar(&t.mtwire, "mtwire", "", "the program")
	flag.StringVar(&t.other, "other", "", "the same program in another file")
	flag.StringVar(&t.before, "before", "", "an older program; none: no downgrade")
	flag.StringVar(&t.log, "log", "", "file for the journal and the console")
	flag.StringVar(&t.steps.Only, "only", "", "run the steps only that have this in their names")
	flag.Parse()
	t.steps.Output = os.Stdout
	process.Main("interop/systemd", func(ctx context.Context) error { return run(ctx, t) })
}

// run runs the trial, in namespaces of its own.
func run(ctx context.Context, t *trial) error {
	dc, err := live.StartDataCenter()
	if err != nil {
		return err
	}
	defer dc.Close()
	m, err := boot(ctx, t.root, t.log)
	if err != nil {
		return err
	}
	defer m.halt()
	t.machine = m
	t.run(ctx)
	return errors.Join(t.steps.Close(), m.save(t.log))
}

// notHere returns the error of a step that cannot be run.
func notHere(format string, args ...any) error {
	return fmt.Errorf("%w: %s", live.ErrNotHere, fmt.Sprintf(format, args...))
}
