// Calltrace counts the functions that the proxy enters for the handshake of one
// FakeTLS connection, and how often they lead from one package to another.
//
// It builds cmd/mtwire with a hook at the start of every function and runs it as
// a proxy. The client and the data centre are in calltrace's own process, which
// has no hooks. The first connection is not counted, because it initialises what
// later ones use. Further connections follow until two, with others between them or
// not, give the same figures. They differ if something else happens in the proxy
// meanwhile, if a loaded machine delays bytes, or if an init payload is drawn again.
//
// The rows of the table end where the client is authenticated and package route is
// entered to dial the data centre; where splice.Start is entered to relay; when
// the client's first packet has gone up and the proxy waits for the data centre;
// and when the answer has come down. Limits apply to the second row.
// The columns are:
//
//   - entries: function entries, in all goroutines together. Function literals
//     count; generated files, assembly and other modules do not.
//   - functions and files: the distinct ones among these.
//   - package changes: entries whose package differs from that of the previous
//     entry in the same goroutine. A return is not an entry.
//   - proxy/mtwire crossings: package changes in what is left of each goroutine
//     without the entries in packages other than proxy and the root package.
//
// Figures depend on the operating system and the processor, which select
// implementations.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mtwire/mtwire/tools/calltrace/hook"
)

// maxConnections is how many connections are counted before calltrace gives up.
const maxConnections = 40

func main() {
	var limit figures
	flag.IntVar(&limit.entries, "max-entries", -1, "exit with 1 if there are more entries; -1: no limit")
	flag.IntVar(&limit.changes, "max-changes", -1, "exit with 1 if there are more package changes; -1: no limit")
	flag.IntVar(&limit.crossings, "max-crossings", -1, "exit with 1 if there are more proxy/mtwire crossings; -1: no limit")
	verbose := flag.Bool("v", false, "list the entries, indented by stack depth, and show the proxy's log on standard error")
	flag.Parse()
	if err := count(*verbose, limit); err != nil {
		fmt.Fprintln(os.Stderr, "calltrace:", err)
		os.Exit(1)
	}
}

func count(verbose bool, limit figures) error {
	dir, err := os.MkdirTemp("", "calltrace")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary, functions, err := build(dir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	log := io.Discard
	if verbose {
		log = os.Stderr
	}
	p, err := start(ctx, binary, log)
	defer func() {
		cancel()
		p.cmd.Wait()
	}()
	if err != nil {
		return err
	}
	if _, _, err := p.connect(ctx); err != nil {
		return err
	}
	seen := repetition{}
	for range maxConnections {
		up, down, err := p.connect(ctx)
		if err != nil {
			return err
		}
		all := append(up, down...)
		counted := [rows]figures{
			figuresOf(before(up, functions, "internal/route", ""), functions), figuresOf(before(up, functions, "internal/splice", "Start"), functions),
			figuresOf(up, functions), figuresOf(all, functions),
		}
		if seen.repeats(counted) {
			if verbose {
				list(all, functions)
			}
			printTable(counted)
			return counted[1].check(limit)
		}
	}
	return fmt.Errorf("among %d connections no two gave the same figures", maxConnections)
}

// repetition has the figures of the connections so far.
type repetition map[[rows]figures]bool

// repeats reports whether an earlier connection gave the same figures, and keeps them.
func (r repetition) repeats(counted [rows]figures) bool {
	before := r[counted]
	r[counted] = true
	return before
}

const rows = 4

// before returns the entries before the first one into a function of a package of the
// module, or into any if name is empty.
func before(entries []hook.Entry, functions []function, pkg, name string) []hook.Entry {
	for i, e := range entries {
		if f := functions[e.Function]; f.pkg == module+"/"+pkg && (name == "" || f.name == name) {
			return entries[:i]
		}
	}
	return entries
}

type figures struct{ entries, functions, files, changes, crossings int }

func figuresOf(entries []hook.Entry, functions []function) figures {
	f := figures{entries: len(entries)}
	distinct, files := map[int]bool{}, map[string]bool{}
	last, lastOfTwo := map[int]string{}, map[int]string{} // goroutine to package
	for _, e := range entries {
		to := functions[e.Function]
		distinct[e.Function], files[to.file] = true, true
		if from, ok := last[e.Goroutine]; ok && from != to.pkg {
			f.changes++
		}
		last[e.Goroutine] = to.pkg
		if to.pkg != module && to.pkg != module+"/proxy" {
			continue
		}
		if from, ok := lastOfTwo[e.Goroutine]; ok && from != to.pkg {
			f.crossings++
		}
		lastOfTwo[e.Goroutine] = to.pkg
	}
	f.functions, f.files = len(distinct), len(files)
	return f
}

// check returns an error if f exceeds a limit that is not negative.
func (f figures) check(limit figures) error {
	over := func(n, most int, what string) error {
		if most < 0 || n <= most {
			return nil
		}
		return fmt.Errorf("%d %s, limit %d", n, what, most)
	}
	return errors.Join(over(f.entries, limit.entries, "entries"), over(f.changes, limit.changes, "package changes"),
		over(f.crossings, limit.crossings, "proxy/mtwire crossings"))
}

func printTable(counted [rows]figures) {
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "from accept\tentries\tfunctions\tfiles\tpackage changes\tproxy/mtwire crossings")
	for i, name := range []string{"to the dial", "to the relay", "to the first packet up", "to the first packet down"} {
		f := counted[i]
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\n", name, f.entries, f.functions, f.files, f.changes, f.crossings)
	}
	t.Flush()
}

// list prints the entries: number, goroutine (counted from 1), function, place.
func list(entries []hook.Entry, functions []function) {
	goroutines := map[int]int{}
	for i, e := range entries {
		if goroutines[e.Goroutine] == 0 {
			goroutines[e.Goroutine] = len(goroutines) + 1
		}
		f := functions[e.Function]
		pkg := f.pkg[strings.LastIndex(f.pkg, "/")+1:]
		fmt.Printf("%4d  g%d  %s%s.%s  %s:%d\n", i+1, goroutines[e.Goroutine], strings.Repeat("  ", e.Depth), pkg, f.name, f.file, f.line)
	}
}
