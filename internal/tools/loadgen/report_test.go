package loadgen

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// sample returns a report with every figure.
func sample() Report {
	cost := &Cost{CPUCores: 0.364, MemoryMiB: 32.5}
	full := func() Results {
		return Results{
			Idle:         &Idle{Connections: 1000, Memory: &IdleMemory{BeforeMiB: 10.75, AfterMiB: 32.5, KiBPerConnection: 22.272}},
			Download:     &Throughput{Bytes: 5 << 30, MiBPerSecond: 1048.5, CPUSecondsPerGiB: 0.356, Cost: cost},
			Upload:       &Throughput{Bytes: 3 << 30, MiBPerSecond: 661.25, CPUSecondsPerGiB: 1.4725, Cost: cost},
			Latency:      &Latency{Echoes: 41000, P50: 60.5, P99: 94, P999: 137.25, CPUMicrosecondsPerEcho: 36.25, Cost: cost},
			Connect:      &Connect{Connections: 6800, PerSecond: 2721.5, CPUMillisecondsPerConnection: 0.23, Cost: cost},
			Chat:         &Chat{Echoes: 5000, PerSecond: 1000, P50: 210.5, P99: 980, CPUMicrosecondsPerEcho: 88.25, Cost: cost},
			ChatDownload: &Chat{Echoes: 5000, Missed: 1, PerSecond: 1000, P50: 310.5, P99: 1980, MiBPerSecond: 900.5, Cost: cost},
			ChatUpload:   &Chat{Echoes: 5000, PerSecond: 1000, P50: 15000, P99: 41000, MiBPerSecond: 600.25, Cost: cost},
			Paced:        &Paced{Packets: 30500, MiBPerSecond: 23.75, CPUMicrosecondsPerPacket: 15.6, Cost: cost},
			Churn:        &Churn{Connections: 2498, Missed: 2, PerSecond: 499.5, P50: 710.5, P99: 1950, CPUMillisecondsPerConnection: 0.44, Cost: cost},
		}
	}
	raw := full()
	raw.Download.MiBPerSecond *= 2
	return Report{
		Date:    time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC),
		Machine: Machine{OS: "linux", Arch: "amd64", CPU: "A processor", CPUs: 2, Go: "go1.26"},
		Target: TargetInfo{
			Address: "127.0.0.1:3128", Mode: "padded", Protocol: "padded-intermediate", DC: 2,
			DataCenter: "127.0.0.1:7443", Processes: []int{42},
		},
		Processors: &Processors{Proxy: []int{0}, Load: []int{1, 2}},
		Settings: Settings{Connections: 4, PacketBytes: 65528, EchoBytes: 72, Seconds: 5, Turns: 5, SettleSeconds: 3,
			Chat: &ChatSettings{Connections: 2000, EchoBytes: 200, IntervalSeconds: 2, Priority: "SCHED_RR", BulkPriority: "SCHED_IDLE"}, Churn: &ChurnSettings{PerSecond: 500},
			Paced: &PacedSettings{Connections: 100, BitsPerSecond: 2_000_000, PacketBytes: 4088}},
		TCP:      &TCP{CongestionControl: "bbr", Default: "cubic", Qdisc: "noqueue", DefaultQdisc: "fq"},
		Warnings: []string{"a reason not to use the figures"},
		Proxy:    full(),
		Raw:      &raw,
	}
}

// golden compares got with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, bytes.ReplaceAll(want, []byte("\r\n"), []byte("\n"))) {
		t.Errorf("%s is now\n%s", path, got)
	}
}

// The JSON form is one object with stable keys: docs/bench.md documents them.
func TestJSONKeysAreStable(t *testing.T) {
	got, err := json.MarshalIndent(sample(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "report.json", append(got, '\n'))
}

// The text form is a table with aligned columns and units in the names.
func TestTextIsAnAlignedTable(t *testing.T) {
	var got bytes.Buffer
	report := sample()
	if err := report.WriteText(&got); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.txt", got.Bytes())
}

// A figure that only the other side has is a dash.
func TestMissingFiguresAreDashes(t *testing.T) {
	report := sample()
	report.Proxy = Results{Latency: &Latency{P50: 1, P99: 2, P999: 3}}
	report.Raw = &Results{Latency: report.Raw.Latency}
	var got bytes.Buffer
	if err := report.WriteText(&got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(got.Bytes(), []byte("CPU, µs/echo                      -       36.2          -\n")) {
		t.Errorf("\n%s", &got)
	}
	report = Report{}
	if report.Measured() || report.table() != "" {
		t.Error("an empty report has figures")
	}
}

// Each figure of a phase is the median of that figure over the turns.
func TestFiguresAreMediansOfTheirTurns(t *testing.T) {
	second := func(packets int64, cpu time.Duration) turn {
		return turn{count: packets, elapsed: time.Second, measured: true, cpu: cpu, memory: packets << 20}
	}
	var r Results
	r.set(PhaseUpload, []turn{second(1, time.Second), second(900, 450*time.Second), second(4, time.Second)}, 1<<20)
	want := Throughput{Bytes: 905 << 20, MiBPerSecond: 4, CPUSecondsPerGiB: 512, Cost: &Cost{CPUCores: 1, MemoryMiB: 4}}
	if got := *r.Upload; *got.Cost != *want.Cost || got.Bytes != want.Bytes || got.MiBPerSecond != want.MiBPerSecond ||
		got.CPUSecondsPerGiB != want.CPUSecondsPerGiB {
		t.Errorf("%+v, %+v", got, got.Cost)
	}
	var latency []time.Duration
	for i := range 1000 {
		latency = append(latency, time.Duration(1000-i)*time.Microsecond)
	}
	r.set(PhaseLatency, []turn{{count: 1000, elapsed: time.Second, latency: latency}}, 0)
	if l := r.Latency; l.P50 != 500 || l.P99 != 990 || l.P999 != 999 || l.Cost != nil {
		t.Errorf("%+v", l)
	}
	r.set(PhaseLatency, []turn{{count: 1, latency: latency[:1]}}, 0)
	if l := r.Latency; l.P50 != 1000 || l.P999 != 1000 {
		t.Errorf("%+v", l)
	}
}
