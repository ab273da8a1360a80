package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/mtwire/mtwire/interop/process"
)

// testServer is the client whose driver also has a data centre for whole
// sessions.
const testServer = "gotd"

// binaries are the programs that clients are run against.
type binaries struct {
	mtwire, gotd string

	building sync.WaitGroup
	errs     [2]error
}

// startBuild starts to build both binaries at the same time: most of the work is
// one package of gotd, which the compiler compiles in a single thread.
func startBuild(ctx context.Context, o options) *binaries {
	b := &binaries{mtwire: filepath.Join(o.cache, "bin", "mtwire"), gotd: filepath.Join(o.cache, "bin", "gotd")}
	b.building.Go(func() { b.errs[0] = build(ctx, filepath.Dir(o.interop), b.mtwire, "./cmd/mtwire") })
	b.building.Go(func() { b.errs[1] = build(ctx, o.interop, b.gotd, "./clients/"+testServer+"/driver") })
	return b
}

// wait waits until both binaries are built.
func (b *binaries) wait() error {
	b.building.Wait()
	return errors.Join(b.errs[:]...)
}

func build(ctx context.Context, dir, binary, pkg string) error {
	start := time.Now()
	cmd := process.Command(ctx, "go", "build", "-C", dir, "-o", binary, pkg)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := process.Run(cmd); err != nil {
		return fmt.Errorf("building %s: %w", pkg, err)
	}
	fmt.Fprintf(os.Stderr, "%s is built, %v\n", pkg, time.Since(start).Round(time.Millisecond))
	return nil
}
