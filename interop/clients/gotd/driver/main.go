// Driver drives gotd in interop/run: "driver dc" runs a data centre for whole
// sessions, "driver drive" runs the clients of a case, and "driver version" prints
// gotd's version.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 3 && args[0] == "dc":
		return serve(ctx, args[1], args[2])
	case len(args) == 3 && args[0] == "drive":
		return drive(ctx, args[1], args[2])
	case len(args) == 1 && args[0] == "version":
		return version()
	}
	return errors.New("usage: driver dc KEYFILE CERTIFICATEFILE | driver drive URL CASE | driver version")
}
