package loadgen

import (
	"context"
	"errors"
	"math"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
)

// smallPlan returns a plan with all phases, as short as possible.
func smallPlan(dc *DataCenter, ep mtwire.Endpoint) Plan {
	return Plan{
		Proxy: Target{Endpoint: ep, Processes: thisProcess()}, DataCenter: dc,
		Connections: 2, PacketSize: 4120, Time: 20 * time.Millisecond, Turns: 2, Idle: 40, Settle: time.Millisecond,
		Timeout: 20 * time.Second,
		Chat:    ChatLoad{Connections: 10, Interval: 10 * time.Millisecond}, Churn: ChurnLoad{Rate: 1000},
		Paced: PacedLoad{Connections: 3, Rate: 20_000_000},
	}
}

// A report has every figure, of the proxy and of the raw relay, with secrets of
// every mode.
func TestEveryModeIsMeasured(t *testing.T) {
	for _, query := range []string{
		"protocol=abridged&secret=" + mtwiretest.PlainSecret,
		"protocol=intermediate&secret=" + mtwiretest.PlainSecret,
		"dc=-3&secret=" + mtwiretest.PaddedSecret,
		"dc=10002&secret=" + mtwiretest.FakeTLSSecret,
	} {
		dc := startDataCenter(t)
		address := startProxy(t, mtwiretest.PlainSecret, dc.Addr().String())
		plan := smallPlan(dc, endpoint(t, address, query))
		plan.Phases = Phases()
		plan.Raw = startRawRelay(t, dc)
		report, err := Run(testContext(t), plan)
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		for _, side := range report.sides() {
			wantAll(t, side)
		}
	}
}

// wantAll fails the test unless r has every figure.
func wantAll(t *testing.T, r *Results) {
	t.Helper()
	for _, throughput := range []*Throughput{r.Download, r.Upload} {
		if throughput == nil || throughput.Bytes < 1<<20 || throughput.MiBPerSecond <= 0 {
			t.Fatalf("throughput %+v", throughput)
		}
		wantCost(t, throughput.Cost, throughput.CPUSecondsPerGiB)
	}
	if l := r.Latency; l == nil || l.Echoes < 2 || l.P50 <= 0 || l.P99 < l.P50 || l.P999 < l.P99 {
		t.Fatalf("latency %+v", l)
	}
	wantCost(t, r.Latency.Cost, r.Latency.CPUMicrosecondsPerEcho)
	if c := r.Connect; c == nil || c.Connections < 4 || c.PerSecond <= 0 {
		t.Fatalf("connect %+v", c)
	}
	wantCost(t, r.Connect.Cost, r.Connect.CPUMillisecondsPerConnection)
	for _, c := range []*Chat{r.Chat, r.ChatDownload, r.ChatUpload} {
		if c == nil || c.Echoes < 2 || c.PerSecond <= 0 || c.P50 <= 0 || c.P99 < c.P50 || (c.MiBPerSecond > 0) != (c != r.Chat) {
			t.Fatalf("chat %+v", c)
		}
	}
	wantCost(t, r.Chat.Cost, r.Chat.CPUMicrosecondsPerEcho)
	wantCost(t, r.ChatDownload.Cost, 1)
	wantCost(t, r.ChatUpload.Cost, 1)
	if p := r.Paced; p == nil || p.Packets < 6 || p.MiBPerSecond <= 0 {
		t.Fatalf("paced %+v", p)
	}
	wantCost(t, r.Paced.Cost, r.Paced.CPUMicrosecondsPerPacket)
	if c := r.Churn; c == nil || c.Connections < 2 || c.PerSecond <= 0 || c.P50 <= 0 || c.P99 < c.P50 {
		t.Fatalf("churn %+v", c)
	}
	wantCost(t, r.Churn.Cost, r.Churn.CPUMillisecondsPerConnection)
	if i := r.Idle; i == nil || i.Connections != 40 || (i.Memory != nil) != (runtime.GOOS == "linux") {
		t.Fatalf("idle %+v", i)
	}
}

func wantCost(t *testing.T, c *Cost, cpu float64) {
	t.Helper()
	if runtime.GOOS == "linux" && (c == nil || c.CPUCores <= 0 || c.MemoryMiB < 1 || cpu <= 0) {
		t.Fatalf("cost %+v, CPU time %v", c, cpu)
	}
}

// A report without processes has no cost, one without a raw relay has one side, and
// only the phases of the plan run.
func TestOnlyThePlanIsMeasured(t *testing.T) {
	dc := startDataCenter(t)
	plan := smallPlan(dc, direct(dc.Addr()))
	plan.Proxy.Processes = nil
	plan.Phases = []Phase{PhaseLatency, PhaseIdle}
	var progress []string
	plan.Progress = func(line string) { progress = append(progress, line) }
	report, err := Run(testContext(t), plan)
	if err != nil {
		t.Fatal(err)
	}
	r := report.Proxy
	if report.Raw != nil || r.Download != nil || r.Upload != nil || r.Connect != nil || r.Latency == nil || r.Idle == nil ||
		r.Latency.Cost != nil || r.Idle.Memory != nil {
		t.Errorf("%+v", r)
	}
	progress = progress[len(report.Warnings):]
	if len(progress) != 2 || progress[0] != "idle: 40 connections" || !strings.HasPrefix(progress[1], "latency: ") {
		t.Errorf("%q", progress)
	}
}

// A byte that a proxy changes is an error.
func TestProxyThatChangesBytesIsAnError(t *testing.T) {
	dc := startDataCenter(t)
	broken := serveEach(t, func(conn net.Conn) {
		server, err := net.Dial("tcp", dc.Addr().String())
		if err != nil {
			return
		}
		defer server.Close()
		go copyOneWay(server, conn, func() { server.Close() })
		copyOneWay(conn, &flipper{server, math.MaxInt, 1 << 20}, func() { server.Close() })
	})
	plan := smallPlan(dc, direct(broken))
	plan.Time, plan.Phases = 10*time.Second, []Phase{PhaseDownload}
	if _, err := Run(testContext(t), plan); !errors.Is(err, ErrCorrupt) || !strings.HasPrefix(err.Error(), "download: through the proxy: ") {
		t.Error(err)
	}
}

// Run returns when its context ends, in every phase.
func TestRunEndsWithItsContext(t *testing.T) {
	dc := startDataCenter(t)
	for _, phase := range Phases() {
		plan := smallPlan(dc, direct(dc.Addr()))
		plan.Time, plan.Settle, plan.Phases = time.Hour, time.Hour, []Phase{phase}
		ctx, cancel := context.WithCancel(testContext(t))
		plan.Progress = func(string) { time.AfterFunc(time.Millisecond, cancel) }
		if _, err := Run(ctx, plan); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", phase, err)
		}
	}
}
