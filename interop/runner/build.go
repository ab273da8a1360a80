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
	// before is a program from which and to which the proxy is upgraded too.
	before string

	building sync.WaitGroup
	errs     [3]error
}

// startBuild starts to build all binaries at the same time: most of the work is
// one package of gotd, which the compiler compiles in a single thread.
func startBuild(ctx context.Context, o options) *binaries {
	b := &binaries{mtwire: filepath.Join(o.cache, "bin", "mtwire"), gotd: filepath.Join(o.cache, "bin", "gotd")}
	b.building.Go(func() { b.errs[0] = build(ctx, filepath.Dir(o.interop), b.mtwire, "./cmd/mtwire") })
	b.building.Go(func() { b.errs[1] = build(ctx, o.interop, b.gotd, "./clients/"+testServer+"/driver") })
	if b.before = o.before; b.before == "" {
		b.before = filepath.Join(o.cache, "bin", "before")
		b.building.Go(func() { b.errs[2] = buildBefore(ctx, o, b.before) })
	}
	return b
}

// wait waits until both binaries are built.
func (b *binaries) wait() error {
	b.building.Wait()
	return errors.Join(b.errs[:]...)
}

func build(ctx context.Context, dir, binary, pkg string) error {
	return compile(ctx, pkg, "build", "-C", dir, "-o", binary, pkg)
}

// compile runs the go command for a package.
func compile(ctx context.Context, pkg string, args ...string) error {
	start := time.Now()
	cmd := process.Command(ctx, "go", args...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := process.Run(cmd); err != nil {
		return fmt.Errorf("building %s: %w", pkg, err)
	}
	fmt.Fprintf(os.Stderr, "%s is built, %v\n", pkg, time.Since(start).Round(time.Millisecond))
	return nil
}

// buildBefore makes a program that speaks version 1 of the hand-over protocol at most: the
// binary of the command's tests, for which a variable sets that. It is a script, because an
// upgrade starts a program with the environment of the process before.
func buildBefore(ctx context.Context, o options, script string) error {
	tests := script + ".test"
	if err := compile(ctx, "the tests of ./cmd/mtwire", "test", "-C", filepath.Dir(o.interop), "-c", "-o", tests, "./cmd/mtwire"); err != nil {
		return err
	}
	text := fmt.Sprintf("#!/usr/bin/env bash\nMTWIRE_TEST_PROTOCOL=1 exec -a \"$0\" %q \"$@\"\n", tests)
	return os.WriteFile(script, []byte(text), 0o755)
}
