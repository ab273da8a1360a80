// Command limits measures what users with limits cost the proxy: two processes in turns,
// one with a bare secret, the other with 1,000 users that have every limit, of which none
// is reached, a store that is written, and counters. It prints both and their ratios, and
// with -check exits with 1 if a target is missed.
//
//	go run ./limits
//	go run ./limits -seconds 5 -check
//	go run ./limits -rates         how much of a rate is reached instead
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/internal/service/store"
	"github.com/mtwire/mtwire/internal/service/users"
	"github.com/mtwire/mtwire/internal/tools/loadgen"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/proxy"
)

// Targets: how much more than with a bare secret.
const (
	maxDownload = 1.05 // processor time of a GiB
	maxConnect  = 1.05 // processor time of a connection
	maxIdle     = 0.5  // KiB of an idle connection, in addition
)

// numberOfUsers is how many there are.
const numberOfUsers = 1000

// roleEnv makes the process a proxy: bare or limits. addressEnv is the data centre's.
const roleEnv, addressEnv = "LIMITS_BENCH_ROLE", "LIMITS_BENCH_DC"

func main() {
	seconds := flag.Float64("seconds", 10, "duration of each phase on each side")
	idle := flag.Int("idle", 2000, "number of idle connections")
	mode := flag.String("mode", "dd", "mode of the clients: classic or dd")
	check := flag.Bool("check", false, "exit with 1 if a target is missed")
	rates := flag.Bool("rates", false, "measure how much of a rate is reached, instead")
	flag.Parse()
	var err error
	if role := os.Getenv(roleEnv); role != "" {
		err = serve(role == "limits", os.Getenv(addressEnv))
	} else if *rates {
		err = measureRates(*check)
	} else {
		err = measure(*seconds, *idle, *mode, *check)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "limits:", err)
		os.Exit(1)
	}
}

// secretOf returns the secret of a user.
func secretOf(i int) mtproxy.Secret {
	return mtproxy.Secret{Mode: mtproxy.Plain, Key: [16]byte{byte(i), byte(i >> 8), 1}}
}

// serve is a proxy's process, which ends with its standard input.
func serve(limits bool, dc string) error {
	config := proxy.Config{
		Users:       []proxy.User{{Name: "0", Secrets: []mtproxy.Secret{secretOf(0)}}},
		DataCenters: map[datacenter.DC][]string{0: {dc}},
		Log:         slog.New(slog.DiscardHandler),
	}
	if limits {
		dir, err := os.MkdirTemp("", "limits")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		kept := store.Open(dir, store.Options{Log: config.Log})
		defer kept.Close()
		policy := users.New(users.Config{Counters: kept.Counters(), Log: config.Log})
		list := limited()
		policy.Set(list)
		config.Users, config.Policy = users.Proxies(list), policy
		go policy.Run(context.Background())
		go kept.Run(context.Background(), policy)
	}
	p, err := proxy.New(config)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go p.Serve(context.Background(), ln)
	defer p.Close()
	fmt.Println(ln.Addr())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// limited returns users that have every limit.
func limited() (list []users.User) {
	for i := range numberOfUsers {
		list = append(list, users.User{Name: fmt.Sprint(i), Secrets: []mtproxy.Secret{secretOf(i)}, Limits: users.Limits{
			Expires:        time.Now().AddDate(1, 0, 0),
			MaxConnections: 1 << 20,
			MaxAddresses:   10,
			Networks:       []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
			Quota:          users.Quota{Bytes: 1 << 60, Period: users.Monthly},
			RateUp:         1 << 40,
			RateDown:       1 << 40,
		}})
	}
	return list
}

// start starts a proxy's process. The caller calls stop.
func start(role, dc string, ep mtwire.Endpoint) (t loadgen.Target, stop func(), err error) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"="+role, addressEnv+"="+dc)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return t, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return t, nil, err
	}
	if err := cmd.Start(); err != nil {
		return t, nil, err
	}
	stop = func() {
		in.Close()
		cmd.Wait()
	}
	ep.Address, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		stop()
		return t, nil, fmt.Errorf("the proxy with %s: %w", role, err)
	}
	ep.Address = strings.TrimSpace(ep.Address)
	return loadgen.Target{Endpoint: ep, Processes: []int{cmd.Process.Pid}}, stop, nil
}

func measure(seconds float64, idle int, mode string, check bool) error {
	ep := mtwire.Endpoint{Secret: secretOf(0), Protocol: mtwire.Intermediate, DC: 2}
	if mode == "dd" {
		ep.Secret.Mode, ep.Protocol = mtproxy.Padded, mtwire.PaddedIntermediate
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	plan := loadgen.Plan{
		DataCenter: loadgen.NewDataCenter(ln),
		Phases:     []loadgen.Phase{loadgen.PhaseIdle, loadgen.PhaseDownload, loadgen.PhaseConnect},
		Time:       time.Duration(seconds * float64(time.Second)),
		Turns:      9,
		Idle:       idle,
		Progress:   func(line string) { fmt.Fprintln(os.Stderr, line) },
	}
	go plan.DataCenter.Serve(ctx)
	bare, stop, err := start("bare", ln.Addr().String(), ep)
	if err != nil {
		return err
	}
	defer stop()
	limits, stop, err := start("limits", ln.Addr().String(), ep)
	if err != nil {
		return err
	}
	defer stop()
	plan.Proxy, plan.Raw = limits, &bare
	report, err := loadgen.Run(ctx, plan)
	if err != nil {
		return err
	}
	return compare(os.Stdout, &report.Proxy, report.Raw, check)
}

// compare prints the figures of both sides.
func compare(w io.Writer, limits, bare *loadgen.Results, check bool) error {
	if bare.Download.CPUSecondsPerGiB == 0 || bare.Idle.Memory == nil {
		return fmt.Errorf("this system does not tell the processor time and memory of a process")
	}
	missed := 0
	row := func(what, unit string, with, without, figure, target float64, format string) {
		verdict := ""
		if figure > target {
			missed++
			verdict = "  missed"
		}
		fmt.Fprintf(w, "%-32s %8.3f %8.3f %-4s "+format+"%s\n", what, with, without, unit, figure, target, verdict)
	}
	fmt.Fprintf(w, "%-32s %8s %8s\n", "", "limits", "bare")
	download, connect := limits.Download.CPUSecondsPerGiB, limits.Connect.CPUMillisecondsPerConnection
	bareDownload, bareConnect := bare.Download.CPUSecondsPerGiB, bare.Connect.CPUMillisecondsPerConnection
	row("download, processor time a GiB", "s", download, bareDownload, download/bareDownload, maxDownload, "x %.3f, at most %.2f")
	row("connection, processor time", "ms", connect, bareConnect, connect/bareConnect, maxConnect, "x %.3f, at most %.2f")
	with, without := limits.Idle.Memory.KiBPerConnection, bare.Idle.Memory.KiBPerConnection
	row("idle connection, memory", "KiB", with, without, with-without, maxIdle, "+ %.2f, at most %.2f")
	if missed > 0 && check {
		return fmt.Errorf("%d targets are missed", missed)
	}
	return nil
}
