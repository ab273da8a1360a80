// Probes compares an MTProxy with the site behind it, as others can on the wire:
//
//	probes active [flags]   an active prober, which has no secret or a used one
//	probes shapes [flags]   a passive observer of authenticated sessions
//	probes attack [flags]   many connections, and what others get meanwhile
//
// It starts the sites and the proxies on loopback, and exits with 1 if something
// tells the proxy from the site that is not in the file of known differences.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/mtwire/mtwire/interop/probes/attack"
	"github.com/mtwire/mtwire/interop/probes/classify"
	"github.com/mtwire/mtwire/interop/probes/probe"
	"github.com/mtwire/mtwire/interop/probes/site"
)

func main() {
	if len(os.Args) == 4 && os.Args[1] == site.GoCommand {
		fmt.Fprintln(os.Stderr, site.ServeGo(os.Args[2], os.Args[3]))
		os.Exit(1)
	}
	commands := map[string]func(context.Context, *options) error{"active": active, "shapes": shapes, "attack": attacks}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: probes active|shapes|attack [flags]; -h lists the flags")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o := &options{}
	err := o.parse(os.Args[1], os.Args[2:])
	if err == nil {
		err = commands[os.Args[1]](ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "probes:", err)
		os.Exit(1)
	}
}

// options are the flags of all commands.
type options struct {
	mtwire, rustls string
	sites          []site.Kind
	modes          []probe.Mode
	only           []string
	attempts       int
	held, secrets  int
	known          []probe.Known
	json           string
	all, details   bool
}

func (o *options) parse(command string, args []string) error {
	flags := flag.NewFlagSet("probes "+command, flag.ExitOnError)
	var sites, modes, only, known string
	flags.StringVar(&o.mtwire, "mtwire", "mtwire", "binary of the proxy")
	flags.StringVar(&o.rustls, "rustls", "", "binary of the rustls site")
	flags.StringVar(&sites, "sites", "nginx", "NAME,… of "+strings.Join(site.Names(), ", "))
	flags.StringVar(&known, "known", "", "file with known differences")
	flags.StringVar(&o.json, "json", "", "also write the results to this file")
	flags.BoolVar(&o.details, "details", false, "print details of known differences too")
	flags.BoolVar(&o.all, "all", false, "print what does not differ too")
	if command == "attack" {
		flags.IntVar(&o.held, "held", 5000, "connections that the attacker holds")
		flags.StringVar(&only, "only", "*", "attacks: PATTERN,…")
		flags.IntVar(&o.secrets, "secrets", 1, "secrets that the proxy has")
	}
	if command == "active" {
		flags.StringVar(&modes, "modes", "ee,ee+dd,ee+bare", "modes of the proxy")
		flags.StringVar(&only, "only", "*", "probes: PATTERN,…")
		flags.IntVar(&o.attempts, "attempts", 3, "how often a probe with an unknown difference is made")
	}
	flags.Parse(args)
	for name := range strings.SplitSeq(sites, ",") {
		kind, err := site.Find(name)
		if err != nil {
			return err
		}
		o.sites = append(o.sites, kind)
	}
	for mode := range strings.SplitSeq(modes, ",") {
		o.modes = append(o.modes, probe.Mode(mode))
	}
	o.only = strings.Split(only, ",")
	if known == "" {
		return nil
	}
	file, err := os.Open(known)
	if err != nil {
		return err
	}
	defer file.Close()
	if o.known, err = probe.ParseKnown(file); err != nil {
		return fmt.Errorf("%s: %w", known, err)
	}
	return nil
}

// active probes the sites one after the other.
func active(ctx context.Context, o *options) error {
	r := &probe.Runner{Mtwire: o.mtwire, Rustls: o.rustls, Modes: o.modes, Attempts: o.attempts, Known: o.known, Log: logf}
	if err := r.Select(o.only); err != nil {
		return err
	}
	var results []probe.Result
	for _, kind := range o.sites {
		found, err := r.Run(ctx, kind)
		if err != nil {
			return err
		}
		results = append(results, found...)
	}
	return o.report(results)
}

// shapes classifies the sites one after the other.
func shapes(ctx context.Context, o *options) error {
	var results []probe.Result
	for _, kind := range o.sites {
		logf("%s: sessions", kind.Name)
		rows, err := classify.Run(ctx, o.mtwire, o.rustls, kind)
		if err != nil {
			return err
		}
		if err := classify.PrintTable(os.Stdout, kind.Name, rows); err != nil {
			return err
		}
		fmt.Println()
		results = append(results, classify.Results(kind.Name, rows, o.known)...)
	}
	return o.report(results)
}

// attacks measures what others get while one address holds connections.
func attacks(ctx context.Context, o *options) error {
	figures, err := attack.Run(ctx, attack.Config{Mtwire: o.mtwire, Held: o.held, Secrets: o.secrets, Only: strings.Join(o.only, ","), Log: logf})
	if err != nil {
		return err
	}
	if err := attack.PrintTable(os.Stdout, figures); err != nil {
		return err
	}
	return o.report(attack.Results(figures, o.known))
}

func logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s "+format+"\n", append([]any{time.Now().Format(time.TimeOnly)}, args...)...)
}

// report prints and writes results, and returns an error if there is an unknown
// difference.
func (o *options) report(results []probe.Result) error {
	probe.PrintDetails(os.Stdout, results, o.details)
	fmt.Println()
	if err := probe.PrintTable(os.Stdout, results, o.all); err != nil {
		return err
	}
	for _, k := range probe.Obsolete(o.known, results) {
		fmt.Printf("line %d of the known differences was not seen: %s %s %s: %s\n", k.Line, k.Sites, k.Modes, k.Names, k.Reason)
	}
	if o.json != "" {
		text, err := json.MarshalIndent(results, "", "\t")
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.json, text, 0o644); err != nil {
			return err
		}
	}
	if probe.Count(results).Unknown > 0 {
		return errors.New("there are unknown differences")
	}
	return nil
}
