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

// smallPlan is all phases, in a moment.
func smallPlan(dc *DataCenter, ep mtwire.Endpoint) Plan {
	return Plan{
		Proxy: Target{Endpoint: ep, Processes: thisProcess()}, DataCenter: dc,
		Connections: 2, PacketSize: 4120, Time: 20 * time.Millisecond, Turns: 2, Idle: 40, Settle: time.Millisecond,
		Patience: 20 * time.Second,
	}
}

// "drives any MTProxy ... and prints throughput, latency p50/p99, CPU seconds
// per GiB and memory, idle-connection cost, connections per second, with --raw
// the same": every figure is there, in every mode of secret.
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
		plan.Raw = startRaw(t, dc)
		report, err := Run(short(t), plan)
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		for _, side := range report.sides() {
			wantAll(t, side)
		}
	}
}

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
	if i := r.Idle; i == nil || i.Connections != 40 || (i.Memory != nil) != (runtime.GOOS == "linux") {
		t.Fatalf("idle %+v", i)
	}
}

func wantCost(t *testing.T, c *Cost, cpu float64) {
	t.Helper()
	if runtime.GOOS == "linux" && (c == nil || c.CPUCores <= 0 || c.MemoryMiB < 1 || cpu <= 0) {
		t.Fatalf("cost %+v, processor time %v", c, cpu)
	}
}

// Without a process, what can be seen from outside; without the relay, one
// side; and of the phases, those that were asked for.
func TestOnlyWhatWasAskedForIsMeasured(t *testing.T) {
	dc := startDataCenter(t)
	plan := smallPlan(dc, direct(dc.Addr()))
	plan.Proxy.Processes = nil
	plan.Phases = []Phase{PhaseLatency, PhaseIdle}
	var told []string
	plan.Progress = func(what string) { told = append(told, what) }
	report, err := Run(short(t), plan)
	if err != nil {
		t.Fatal(err)
	}
	r := report.Proxy
	if report.Raw != nil || r.Download != nil || r.Upload != nil || r.Connect != nil || r.Latency == nil || r.Idle == nil ||
		r.Latency.Cost != nil || r.Idle.Memory != nil {
		t.Errorf("%+v", r)
	}
	if len(told) != 2 || told[0] != "idle: 40 connections" || !strings.HasPrefix(told[1], "latency: ") {
		t.Errorf("%q", told)
	}
}

// "a clear error naming what happened".
func TestProxyThatDoesNotAnswerIsExplained(t *testing.T) {
	dc := startDataCenter(t)
	wrong := "00112233445566778899aabbccddeeff"
	other := &mtwiretest.DataCenter{Listener: mtwire.NewListener(listen(t), nil)}
	run(t, other.Serve)
	gone := listen(t)
	gone.Close()
	hangUp := silent(t, func(conn net.Conn) { conn.Read(make([]byte, 1)) })
	// It connects to the data centre, and says nothing there.
	mute := silent(t, func(conn net.Conn) {
		if server, err := net.Dial("tcp", dc.Addr().String()); err == nil {
			defer server.Close()
		}
		swallow(conn)
	})
	padded := "secret=" + mtwiretest.PaddedSecret
	for want, ep := range map[string]mtwire.Endpoint{
		"the proxy gave no answer within 1s: wrong secret, or it does not route DC 2 to " + dc.Addr().String(): endpoint(t,
			startProxy(t, wrong, dc.Addr().String()), padded),
		"the proxy closed the connection without an answer: wrong secret, or it does not route DC 4 to": endpoint(t,
			hangUp, padded+"&dc=4"),
		"the proxy routes DC 2 elsewhere": endpoint(t,
			startProxy(t, mtwiretest.PaddedSecret, other.Listener.Addr().String()), padded),
		"cannot connect to the proxy":            endpoint(t, gone.Addr(), padded),
		"but no answer came back":                endpoint(t, mute, padded),
		"the proxy did not answer as an MTProxy": endpoint(t, silent(t, func(conn net.Conn) { conn.Write(make([]byte, 500)); swallow(conn) }), "secret="+mtwiretest.FakeTLSSecret),
	} {
		plan := smallPlan(dc, ep)
		plan.Patience = time.Second
		report, err := Run(short(t), plan)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nwant %s", err, want)
			continue
		}
		if strings.Contains(err.Error(), mtwiretest.PlainSecret) || report.Measured() {
			t.Errorf("%v, %+v", err, report.Proxy)
		}
	}
}

// A proxy that has no room for all is named, with how many it had.
func TestLimitOfAProxyIsNamed(t *testing.T) {
	dc := startDataCenter(t)
	room := make(chan struct{}, warmUp+10)
	limited := silent(t, func(conn net.Conn) {
		select {
		case room <- struct{}{}:
			defer func() { <-room }()
			server, err := net.Dial("tcp", dc.Addr().String())
			if err != nil {
				return
			}
			defer server.Close()
			go pour(conn, server, func() { server.Close() })
			pour(server, conn, func() { server.Close() })
		default:
		}
	})
	plan := smallPlan(dc, direct(limited))
	plan.Phases = []Phase{PhaseIdle}
	_, err := Run(short(t), plan)
	if err == nil || !strings.Contains(err.Error(), "idle: through the proxy: with ") ||
		!strings.Contains(err.Error(), "or by a limit on connections") {
		t.Error(err)
	}
}

// A byte that a proxy changes is an error, whatever the figures.
func TestProxyThatChangesBytesFails(t *testing.T) {
	dc := startDataCenter(t)
	broken := silent(t, func(conn net.Conn) {
		server, err := net.Dial("tcp", dc.Addr().String())
		if err != nil {
			return
		}
		defer server.Close()
		go pour(server, conn, func() { server.Close() })
		pour(conn, &flipper{server, math.MaxInt, 1 << 20}, func() { server.Close() })
	})
	plan := smallPlan(dc, direct(broken))
	plan.Time, plan.Phases = 10*time.Second, []Phase{PhaseDownload}
	if _, err := Run(short(t), plan); !errors.Is(err, ErrCorrupt) || !strings.HasPrefix(err.Error(), "download: through the proxy: ") {
		t.Error(err)
	}
}

// Run does not outlive its context.
func TestRunEndsWithItsContext(t *testing.T) {
	dc := startDataCenter(t)
	for _, phase := range Phases() {
		plan := smallPlan(dc, direct(dc.Addr()))
		plan.Time, plan.Settle, plan.Phases = time.Hour, time.Hour, []Phase{phase}
		ctx, cancel := context.WithCancel(short(t))
		plan.Progress = func(string) { time.AfterFunc(time.Millisecond, cancel) }
		if _, err := Run(ctx, plan); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", phase, err)
		}
	}
}

func TestBadPlansAreRefused(t *testing.T) {
	dc := startDataCenter(t)
	for want, spoil := range map[string]func(*Plan){
		"no phase is called": func(p *Plan) { p.Phases = []Phase{"sideways"} },
		"negative":           func(p *Plan) { p.Idle = -1 },
		"packets of 100":     func(p *Plan) { p.PacketSize = 100 },
		"no proxy speaks":    func(p *Plan) { p.Proxy.Endpoint.Carrier = mtwire.HTTP },
		"process":            func(p *Plan) { p.Proxy.Processes = []int{1 << 29} },
	} {
		plan := smallPlan(dc, direct(dc.Addr()))
		spoil(&plan)
		if _, err := Run(short(t), plan); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
