package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/service"
	"github.com/mtwire/mtwire/internal/tools/loadgen"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/spf13/cobra"
)

// benchFlags are the flags of mtwire bench.
type benchFlags struct {
	secret, dc, dcListen, protocol string
	connections, idle, size        int
	seconds                        float64
	processes                      []int
	only                           []string
	raw, awake, asJSON             bool

	loads loadFlags
}

func benchCommand() *cobra.Command {
	var flags benchFlags
	cmd := &cobra.Command{
		Use:   "bench LINK",
		Short: "Measure an MTProxy server under load",
		Long: `Measure an MTProxy server under load, this one or another: download and upload
throughput, latency, new connections, idle connections; and with --pid, on
Linux, the CPU time and memory of the proxy's process.

--chat, --chat-bulk, --paced and --churn measure what messengers do most, in
place of that: small messages on many connections, alone and beside downloads and
uploads, downloads at a fixed rate, and connections that come and go. On Linux
the process that measures small messages has a higher priority where that is
allowed (as root, with CAP_SYS_NICE, or by ulimit -r or -e), and one of a low
priority makes the downloads and uploads beside them.

LINK is the proxy's link, tg://proxy?... or https://t.me/proxy?..., that of a WEB
proxy, tg://webproxy?..., whose connections share a session, or HOST:PORT
with --secret; - reads it from standard input, so that no other user of this
machine sees it on the command line. The data centre is in this process and
listens on --dc-listen. The proxy must route there: Telegram's data centres take
no part. Every byte that arrives is compared with the byte that was sent.

A processor that sleeps takes time to wake up, that of a virtual machine up to
milliseconds: --awake keeps processors from it, those of the proxy (the first --pid)
and of the load generator, in the phases of small messages.

The memory of idle connections is accurate only for a proxy that has just been
started. The load generator uses CPU time of the same machine: compare seconds
per GiB rather than throughput, and use --raw, which measures a relay that only
copies bytes in turns with the proxy.

Exits with 1 if the proxy does not answer, or changes a byte.`,
		Example: `  # In one terminal:
  mtwire proxy --listen 127.0.0.1:3128 --secret 3QEjRWeJq83vASNFZ4mrze8 --dc '*=127.0.0.1:7443'
  # In another:
  mtwire bench 127.0.0.1:3128 --secret 3QEjRWeJq83vASNFZ4mrze8 --raw
  mtwire bench 127.0.0.1:3128 --secret 3QEjRWeJq83vASNFZ4mrze8 --only download,upload --json
  mtwire bench 127.0.0.1:3128 --secret 3QEjRWeJq83vASNFZ4mrze8 --chat --chat-bulk --paced 2Mbit --churn --raw`,
		Args: oneArgument("link"),
		RunE: func(cmd *cobra.Command, args []string) error {
			link, err := linkArgument(cmd.InOrStdin(), args[0])
			if err != nil {
				return err
			}
			plan, err := flags.plan(link)
			if err != nil {
				return err
			}
			return runBench(cmd, plan, &flags)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&flags.secret, "secret", "", "`SECRET` of the proxy, if LINK is HOST:PORT")
	f.StringVar(&flags.dc, "dc", "", "`ID` of the DC that the clients connect to (default: the link's, or 2)")
	f.StringVar(&flags.dcListen, "dc-listen", "127.0.0.1:7443", "`ADDRESS` that the data centre listens on")
	f.StringVar(&flags.protocol, "protocol", "", "`FRAMING` with a plain secret: abridged, intermediate or padded-intermediate (default: intermediate)")
	f.StringSliceVar(&flags.only, "only", nil, "`PHASES` to run: "+phaseNames(loadgen.Phases())+
		" (default: the first five, unless --chat or another load is given)")
	f.IntVar(&flags.connections, "connections", 4, "`NUMBER` of concurrent connections")
	f.IntVar(&flags.idle, "idle", 1000, "`NUMBER` of idle connections; 0 skips the phase")
	f.IntVar(&flags.size, "size", 64<<10, "size of a packet in `BYTES`, rounded down to the length of an encrypted message")
	f.Float64Var(&flags.seconds, "seconds", 5, "duration of each phase in `SECONDS`")
	flags.loads.define(f)
	f.IntSliceVar(&flags.processes, "pid", nil, "process `ID` of the proxy (repeatable)")
	f.BoolVar(&flags.raw, "raw", false, "compare with a relay that only copies bytes")
	f.BoolVar(&flags.awake, "awake", false, "let no processor sleep in the phases of small messages (Linux)")
	f.BoolVar(&flags.asJSON, "json", false, "print JSON")
	return cmd
}

// plan checks the flags and returns the plan, without the data centre and the raw
// relay.
func (flags *benchFlags) plan(link string) (loadgen.Plan, error) {
	ep, err := flags.endpoint(link)
	if err != nil {
		return loadgen.Plan{}, err
	}
	switch {
	case flags.connections < 1:
		return loadgen.Plan{}, fmt.Errorf("--connections %d: want at least 1", flags.connections)
	case flags.seconds <= 0 || flags.seconds > 24*60*60:
		return loadgen.Plan{}, fmt.Errorf("--seconds %v: want more than 0 and at most a day", flags.seconds)
	case flags.idle < 0:
		return loadgen.Plan{}, fmt.Errorf("--idle %d: want 0 or more", flags.idle)
	case flags.awake && runtime.GOOS != "linux":
		return loadgen.Plan{}, errors.New("--awake: only on Linux")
	case flags.size < loadgen.MinLength || flags.size > 1<<20:
		return loadgen.Plan{}, fmt.Errorf("--size %d: want %d to %d", flags.size, loadgen.MinLength, 1<<20)
	}
	phases, err := flags.phases()
	if err != nil {
		return loadgen.Plan{}, err
	}
	plan := loadgen.Plan{
		Proxy:       loadgen.Target{Endpoint: ep, Processes: flags.processes},
		Phases:      phases,
		Connections: flags.connections,
		PacketSize:  loadgen.RoundPacketSize(flags.size),
		Time:        time.Duration(flags.seconds * float64(time.Second)),
		Idle:        flags.idle,
	}
	err = flags.loads.complete(&plan)
	return plan, err
}

var errNoProxySecret = errors.New("no secret: want a proxy's link, or HOST:PORT and --secret")

// endpoint returns the proxy's endpoint.
func (flags *benchFlags) endpoint(link string) (ep mtwire.Endpoint, err error) {
	_, _, notAddress := netx.SplitHostPort(link)
	switch {
	case flags.secret == "" && notAddress == nil:
		return ep, errNoProxySecret
	case flags.secret == "":
		ep, err = mtwire.ParseEndpoint(link)
	case strings.Contains(link, "/"):
		err = errors.New("--secret goes with HOST:PORT; a link has its own")
	default:
		if notAddress != nil {
			err = fmt.Errorf("address %q: %w", link, notAddress)
		} else {
			ep.Address = link
			var named service.NamedSecret
			if err = named.UnmarshalText([]byte(flags.secret)); err != nil {
				err = fmt.Errorf("--secret: %w", err)
			}
			ep.Secret = named.Secret
		}
	}
	if err != nil {
		return ep, err
	}
	if ep.Secret == (mtwire.Secret{}) || ep.Carrier != mtwire.TCP && ep.Carrier != mtwire.WEB {
		return ep, errNoProxySecret
	}
	ep.Protocol = mtwire.PaddedIntermediate
	if ep.Secret.Mode == mtproxy.Plain {
		ep.Protocol = mtwire.Intermediate
	}
	if flags.protocol != "" {
		if ep.Protocol, err = mtwire.ParseProtocol(flags.protocol); err != nil {
			return ep, fmt.Errorf("--protocol: %w", err)
		}
	}
	if flags.dc != "" {
		if ep.DC, err = datacenter.ParseDC(flags.dc); err != nil {
			return ep, fmt.Errorf("--dc: %w", err)
		}
	}
	// The combination is checked here, before the data centre is started.
	return mtwire.ParseEndpoint(ep.String())
}

// phases returns the phases of --only, of the loads, and of --idle.
func (flags *benchFlags) phases() (phases []loadgen.Phase, err error) {
	known := loadgen.Phases()
	for _, name := range flags.only {
		phase := loadgen.Phase(name)
		if !slices.Contains(known, phase) {
			return nil, fmt.Errorf("--only %s: want some of %v", name, known)
		}
		phases = append(phases, phase)
	}
	phases = append(phases, flags.loads.phases()...)
	if phases == nil {
		phases = loadgen.DefaultPhases()
	}
	if flags.idle == 0 {
		phases = slices.DeleteFunc(phases, func(p loadgen.Phase) bool { return p == loadgen.PhaseIdle })
	}
	return phases, nil
}

// runBench starts the data centre and the raw relay, runs the plan and prints the
// report. After an error it prints the figures of the phases before, if any.
func runBench(cmd *cobra.Command, plan loadgen.Plan, flags *benchFlags) error {
	ctx, cancel := context.WithCancel(cmd.Context())
	var serving sync.WaitGroup
	defer serving.Wait()
	defer cancel()

	ln, err := net.Listen("tcp", flags.dcListen)
	if err != nil {
		return hintListen(err, "--dc-listen")
	}
	if canStartBulkLoad && plan.Beside() {
		bulk, err := startBulkLoad(ctx, ln)
		if err != nil {
			return err
		}
		defer bulk.stop()
		plan.Bulk = bulk
	}
	if flags.awake {
		plan.Awake = startKeepAwake
	}
	plan.Hurry = true
	plan.DataCenter = loadgen.NewDataCenter(ln)
	serving.Go(func() { plan.DataCenter.Serve(ctx) })
	if flags.raw {
		raw, err := startRawRelay(ctx, ln.Addr().String(), flags.processes)
		if err != nil {
			return err
		}
		defer raw.stop()
		plan.Raw = raw.target(plan.Proxy.Endpoint)
	}
	plan.Progress = func(line string) { printStatus(cmd, "%s", line) }

	report, err := loadgen.Run(ctx, plan)
	if err == nil || report.Measured() {
		if err := printReport(cmd.OutOrStdout(), &report, flags.asJSON); err != nil {
			return err
		}
	}
	if cmd.Context().Err() != nil {
		err = errors.New("interrupted")
	}
	if err != nil {
		return &exitError{code: 1, err: fmt.Errorf("bench: %w", err)}
	}
	return nil
}

func printReport(w io.Writer, report *loadgen.Report, asJSON bool) error {
	if asJSON {
		return printJSON(w, report)
	}
	return report.WriteText(w)
}

// rawRelay is the raw relay of a comparison, in a process of its own, so that its
// CPU time and memory are measured like the proxy's.
type rawRelay struct {
	*benchProcess
	address string
}

const rawRelayName = "raw-relay"

// startRawRelay starts a raw relay to upstream, on the processors of the first of the
// processes that it is compared with, if any. The caller stops it.
func startRawRelay(ctx context.Context, upstream string, beside []int) (*rawRelay, error) {
	p, err := newBenchProcess(ctx, rawRelayName, upstream)
	if err != nil {
		return nil, err
	}
	start := p.cmd.Start
	if len(beside) > 0 {
		start = func() error { return loadgen.StartBeside(p.cmd, beside[0]) }
	}
	if err := start(); err != nil {
		return nil, err
	}
	r := &rawRelay{benchProcess: p}
	if _, err := fmt.Fscanln(p, &r.address); err != nil {
		r.stop()
		return nil, fmt.Errorf("raw relay: %w", err)
	}
	return r, nil
}

// target returns the target of the relay, with the protocol and DC of the proxy's
// endpoint ep and without its secret.
func (r *rawRelay) target(ep mtwire.Endpoint) *loadgen.Target {
	t := &loadgen.Target{Endpoint: mtwire.Endpoint{
		Address: r.address, Obfuscated: true, Protocol: ep.Protocol, DC: ep.DC,
	}}
	if runtime.GOOS == "linux" {
		t.Processes = []int{r.cmd.Process.Pid}
	}
	return t
}

// rawRelayCommand is the command of startRawRelay's process.
func rawRelayCommand() *cobra.Command {
	return &cobra.Command{
		Use:    rawRelayName + " UPSTREAM",
		Short:  "Copy bytes between clients and UPSTREAM while standard input is open",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := whileInputIsOpen(cmd)
			defer cancel()
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), ln.Addr())
			return unlessEnded(ctx, loadgen.ServeRaw(ctx, ln, args[0]))
		},
	}
}
