// Compare runs the comparisons of package bench, the two sides of each in turns, and
// prints medians, ratios, and whether mtwire's targets are met.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/mtwire/mtwire/bench"
)

type options struct {
	smoke, check, markdown bool
	rounds, connections    int
	time                   time.Duration
	margin                 float64
	run                    string
}

func main() {
	bench.RunChild()
	testing.Init()
	var o options
	flag.BoolVar(&o.smoke, "smoke", false, "one short round of everything, to check that it runs")
	flag.BoolVar(&o.check, "check", false, "exit with 1 if a target is missed by more than the margin")
	flag.BoolVar(&o.markdown, "markdown", false, "print the table in Markdown")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds; each side runs once in each")
	flag.DurationVar(&o.time, "time", 100*time.Millisecond, "minimum time for one side in one round")
	flag.IntVar(&o.connections, "connections", 5000, "idle connections to open")
	flag.Float64Var(&o.margin, "margin", 0.1, "tolerance of -check, as a fraction of the target")
	flag.StringVar(&o.run, "run", "", "only rows whose group or name match this regular expression")
	flag.Parse()
	if o.smoke {
		o.rounds, o.time, o.connections = 1, 2*time.Millisecond, 200
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	missed, err := compare(ctx, &o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
	if o.check && missed > 0 {
		os.Exit(1)
	}
}

// compare prints all tables and returns the number of targets that are missed by more
// than the margin.
func compare(ctx context.Context, o *options) (missed int, err error) {
	only, err := regexp.Compile(o.run)
	if err != nil {
		return 0, err
	}
	flag.Set("test.benchtime", o.time.String())
	printMachine(o)
	rows, targets, met := 0, 0, 0
	verdict := func(target bool, good, near bool) string {
		rows++
		switch {
		case !target:
			return ""
		case good:
			targets, met = targets+1, met+1
			return "met"
		}
		targets++
		if !near {
			missed++
		}
		return "MISSED"
	}

	var speed [][]string
	for _, c := range bench.Cases() {
		if !only.MatchString(c.Group + "/" + c.Name) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		progress(c.Group + ", " + c.Name)
		r, err := measure(c, o.rounds)
		if err != nil {
			return 0, err
		}
		target := ""
		if c.Target > 0 {
			target = fmt.Sprintf("%.3gx", c.Target)
		}
		speed = append(speed, []string{
			c.Group, c.Name, c.Versus,
			nanoseconds(r.ours), nanoseconds(r.other), throughput(c.Bytes, r.ours), throughput(c.Bytes, r.other),
			fmt.Sprintf("%.2fx", r.ratio), target,
			verdict(c.Target > 0, r.ratio >= c.Target, r.ratio >= c.Target*(1-o.margin)),
		})
	}
	progress("")
	if len(speed) > 0 {
		printTable(o, append([][]string{{"what", "framing/size", "versus", "mtwire ns", "other ns", "mtwire MB/s", "other MB/s", "ratio", "target", ""}}, speed...))
		fmt.Println()
	}

	var idle [][]string
	for _, name := range bench.IdleNames() {
		if !only.MatchString("idle/" + name) {
			continue
		}
		progress("idle, " + name)
		i, err := bench.MeasureIdle(ctx, name, o.connections)
		if err != nil {
			return 0, err
		}
		target := ""
		if i.Target > 0 {
			target = fmt.Sprintf("%.0f", i.Target)
		}
		idle = append(idle, []string{
			i.Name, fmt.Sprint(i.Connections),
			fmt.Sprintf("%.0f", i.Heap), fmt.Sprintf("%.0f", i.Stack), fmt.Sprintf("%.0f", i.Total()), target,
			ifMeasured("%.0f", i.Resident), ifMeasured("%.1f", i.Left/(1<<20)),
			verdict(i.Target > 0, i.Total() <= i.Target, i.Total() <= i.Target*(1+o.margin)),
		})
	}
	progress("")
	if len(idle) > 0 {
		printTable(o, append([][]string{{"idle connection", "number", "heap B", "stack B", "sum B", "target", "resident B", "left MiB", ""}}, idle...))
		fmt.Println()
	}
	fmt.Printf("%d rows; %d of %d targets met", rows, met, targets)
	if missed < targets-met {
		fmt.Printf(", %d missed by no more than %.0f %%", targets-met-missed, 100*o.margin)
	}
	fmt.Println()
	return missed, nil
}

// ifMeasured formats a figure that is 0 if it was not measured.
func ifMeasured(format string, figure float64) string {
	if figure == 0 {
		return ""
	}
	return fmt.Sprintf(format, figure)
}

// result is a comparison. ours and other are in nanoseconds per operation.
type result struct{ ours, other, ratio float64 }

// measure runs the two sides in turns and returns the medians. The side that is last
// in a round is first in the next. The ratio is the median of the ratios of the
// rounds, because a disturbance of the machine that is longer than a round affects
// both sides.
func measure(c bench.Case, rounds int) (result, error) {
	var ours, other, ratios []float64
	once := func(name string, side func(b *testing.B), times *[]float64) error {
		r := testing.Benchmark(side)
		if r.N == 0 {
			return fmt.Errorf("%s, %s: %s failed", c.Group, c.Name, name)
		}
		*times = append(*times, float64(r.T.Nanoseconds())/float64(r.N))
		return nil
	}
	for round := range rounds {
		sides := []func() error{
			func() error { return once(bench.Mtwire, c.Ours, &ours) },
			func() error { return once(c.Versus, c.Other, &other) },
		}
		if round%2 == 1 {
			slices.Reverse(sides)
		}
		for _, side := range sides {
			if err := side(); err != nil {
				return result{}, err
			}
		}
		ratios = append(ratios, other[round]/ours[round])
	}
	return result{median(ours), median(other), median(ratios)}, nil
}

// median returns the median of x, which it sorts.
func median(x []float64) float64 {
	slices.Sort(x)
	n := len(x)
	return (x[(n-1)/2] + x[n/2]) / 2
}

func nanoseconds(t float64) string {
	if t < 100 {
		return fmt.Sprintf("%.1f", t)
	}
	return fmt.Sprintf("%.0f", t)
}

func throughput(bytes int, t float64) string { return fmt.Sprintf("%.0f", float64(bytes)/t*1e3) }

// progress shows the current measurement if standard error is a terminal.
func progress(measurement string) {
	if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		fmt.Fprintf(os.Stderr, "\r\x1b[K%s", measurement)
	}
}

// printTable prints rows, the first of which is the header.
func printTable(o *options, rows [][]string) {
	if o.markdown {
		rows = slices.Insert(rows, 1, slices.Repeat([]string{"---"}, len(rows[0])))
		for _, row := range rows {
			fmt.Println("| " + strings.Join(row, " | ") + " |")
		}
		return
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	defer w.Flush()
	for _, row := range rows {
		io.WriteString(w, strings.Join(row, "\t")+"\n")
	}
}

// printMachine prints the machine, the versions and the number of rounds.
func printMachine(o *options) {
	gotd := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "github.com/gotd/td" {
				gotd = m.Version
			}
		}
	}
	fmt.Printf("%s, %d CPUs, %s/%s, %s, gotd %s\n", processor(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version(), gotd)
	fmt.Printf("medians of %d rounds of %v each side, in turns\n\n", o.rounds, o.time)
}

// processor returns the model name of the CPU in /proc/cpuinfo.
func processor() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}
