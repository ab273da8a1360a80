// Command containers runs examples/compose in real containers, and does what operators do.
// interop/containers/run installs and builds what it needs.
package main

import (
	"context"
	"errors"
	"flag"
	"os"

	"github.com/mtwire/mtwire/interop/live"
	"github.com/mtwire/mtwire/interop/process"
)

func main() {
	t := &trial{}
	flag.StringVar(&t.example, "example", "", "directory of the compose file and of the Dockerfile")
	flag.StringVar(&t.image, "image", "", "directory that the image is built from")
	flag.StringVar(&t.dir, "dir", "", "directory for everything of the engine; it is removed")
	flag.StringVar(&t.compose, "compose", "podman-compose", "the program")
	flag.StringVar(&t.steps.Only, "only", "", "run the steps only that have this in their names")
	flag.Parse()
	t.steps.Output = os.Stdout
	process.Main("interop/containers", func(ctx context.Context) error { return run(ctx, t) })
}

// run runs the trial, in namespaces of its own: containers with the network of the host have
// that of this process.
func run(ctx context.Context, t *trial) error {
	dc, err := live.StartDataCenter()
	if err != nil {
		return err
	}
	defer dc.Close()
	if err := t.prepare(); err != nil {
		return err
	}
	t.run(ctx)
	return errors.Join(t.clean(), t.steps.Close())
}
