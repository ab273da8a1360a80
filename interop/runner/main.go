// Runner installs MTProto clients that share no code with mtwire, drives them
// against it in a network namespace where only lo is up, and prints a table of
// the results. It has no code for a certain client: clients/README.md documents
// the files that each one brings.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// insideCommand is the runner's only argument when it starts itself in the
// namespace.
const insideCommand = "inside"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if len(os.Args) == 2 && os.Args[1] == insideCommand {
		err = inside(ctx, os.Stdin, os.Stdout)
	} else {
		err = outside(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		os.Exit(1)
	}
}

// options are the command's flags.
type options struct {
	interop, cache string
	only           []string
	strict, json   bool
	load, gui      bool
	probes         bool
	write, keep    string
	before, cases  string
}

func parseFlags() (o options) {
	var only string
	flag.StringVar(&o.interop, "interop", "", "set by interop/run: its directory")
	flag.StringVar(&o.cache, "cache", "", "set by interop/run: where clients are installed")
	flag.StringVar(&only, "only", "", "run these clients only: NAME,…; probes for the probes")
	flag.BoolVar(&o.strict, "strict", false, "fail if a client could not be installed or run")
	flag.BoolVar(&o.json, "json", false, "print JSON lines in place of the table")
	flag.BoolVar(&o.load, "load", false, "give cases under load a minute; the default is a few seconds")
	flag.BoolVar(&o.gui, "gui", false, "also run the clients that need a window or are a browser; their packages are large")
	flag.BoolVar(&o.probes, "probes", false, "compare the proxy with all sites, and attack it; the default is nginx alone, without attacks")
	flag.StringVar(&o.keep, "keep", "", "where to keep screenshots and the probes' tables; the default is a directory in the cache")
	flag.StringVar(&o.cases, "cases", "", "run the cases only that have this text in their names")
	flag.StringVar(&o.before, "before", "", "upgrade the proxy to and from this mtwire; the default is one of this tree that speaks version 1 of the hand-over protocol")
	flag.StringVar(&o.write, "write", "", "also write the table to this file, as Markdown")
	flag.Parse()
	if only != "" {
		o.only = strings.Split(only, ",")
	}
	if o.keep == "" {
		o.keep = filepath.Join(o.cache, "kept")
	}
	return o
}

// outside builds and installs, which needs the network. Then it runs the cases
// inside of the namespace, and prints the table.
func outside(ctx context.Context) error {
	o := parseFlags()
	start := time.Now()
	clients, skipped, err := findClients(o.interop, o.only, o.gui)
	if err != nil {
		return err
	}
	p := plan{Load: o.load, Cases: o.cases}
	if p.Keep, err = filepath.Abs(o.keep); err != nil {
		return err
	}
	if o.before != "" {
		if o.before, err = filepath.Abs(o.before); err != nil {
			return err
		}
	}
	built := startBuild(ctx, o)
	var rows []row
	p.Clients, rows = installAll(ctx, clients, o.cache, built)
	if o.wantsProbes() {
		found, missing, err := installProbes(ctx, o)
		if err != nil {
			return err
		}
		p.Probes, rows = found, append(rows, missing...)
	}
	if err := built.wait(); err != nil {
		return err
	}
	p.Mtwire, p.Gotd, p.Before = built.mtwire, built.gotd, built.before
	p.First = cmp.Or(o.before, built.mtwire)
	installed := time.Since(start)
	ran, err := runInside(ctx, p)
	rows = append(rows, ran...)
	if err != nil {
		return err
	}
	for _, name := range skipped {
		rows = append(rows, row{Client: name, Result: notRequested, Reason: "--gui runs it"})
	}
	t := table{Date: start, Rows: rows, Installing: installed, Total: time.Since(start)}
	printTable := t.print
	if o.json {
		printTable = t.printJSON
	}
	if err := printTable(os.Stdout); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "\ninterop: %s\n", t.summary())
	if o.write != "" {
		if err := t.write(o.write); err != nil {
			return err
		}
	}
	return t.count().verdict(o.strict)
}
