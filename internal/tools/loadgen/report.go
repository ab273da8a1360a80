package loadgen

import (
	"math"
	"slices"
	"time"
)

// Report is what was measured. Its JSON form is one object, whose keys stay;
// what was not measured is absent. It holds no secret.
type Report struct {
	Date     time.Time `json:"date"`
	Machine  Machine   `json:"machine"`
	Target   About     `json:"target"`
	Settings Settings  `json:"settings"`
	// Proxy and Raw are the two sides.
	Proxy Results  `json:"proxy"`
	Raw   *Results `json:"raw,omitempty"`
}

// About says what was measured.
type About struct {
	Address    string `json:"address"`
	Mode       string `json:"mode"`        // of the secret: plain, padded or faketls
	Protocol   string `json:"protocol"`    // the framing
	DC         int    `json:"dc"`          // the one asked for
	DataCenter string `json:"data_center"` // where that listened
	Processes  []int  `json:"processes,omitempty"`
}

// Settings say how it was measured.
type Settings struct {
	Connections   int     `json:"connections"`
	PacketBytes   int     `json:"packet_bytes"`
	EchoBytes     int     `json:"echo_bytes"`
	Seconds       float64 `json:"seconds"` // each phase, each side
	Turns         int     `json:"turns"`
	SettleSeconds float64 `json:"settle_seconds"`
}

// Results are one side's figures, medians of its turns.
type Results struct {
	Idle     *Idle       `json:"idle,omitempty"`
	Download *Throughput `json:"download,omitempty"`
	Upload   *Throughput `json:"upload,omitempty"`
	Latency  *Latency    `json:"latency,omitempty"`
	Connect  *Connect    `json:"connect,omitempty"`
}

// Idle is what connections cost that do nothing.
type Idle struct {
	Connections int         `json:"connections"`
	Memory      *IdleMemory `json:"memory,omitempty"`
}

// IdleMemory is the process's resident memory, without those connections and
// with them. The kernel's own, for the sockets, is not in it.
type IdleMemory struct {
	BeforeMiB        float64 `json:"before_mib"`
	AfterMiB         float64 `json:"after_mib"`
	KiBPerConnection float64 `json:"kib_per_connection"`
}

// Cost is what a process used in a phase.
type Cost struct {
	// CPUCores is processor time over time: 1 is one core busy throughout.
	CPUCores float64 `json:"cpu_cores"`
	// MemoryMiB is resident at the end, with the connections still open.
	MemoryMiB float64 `json:"memory_mib"`
}

// Throughput is data in one direction. Bytes are those of packets, without
// framing and records.
type Throughput struct {
	Bytes            int64   `json:"bytes"` // all turns together
	MiBPerSecond     float64 `json:"mib_per_second"`
	CPUSecondsPerGiB float64 `json:"cpu_seconds_per_gib,omitempty"`
	Cost             *Cost   `json:"cost,omitempty"`
}

// Latency is how long a small message takes there and back, one at a time on
// one connection.
type Latency struct {
	Echoes                 int64   `json:"echoes"` // all turns together
	P50                    float64 `json:"p50_microseconds"`
	P99                    float64 `json:"p99_microseconds"`
	P999                   float64 `json:"p999_microseconds"`
	CPUMicrosecondsPerEcho float64 `json:"cpu_microseconds_per_echo,omitempty"`
	Cost                   *Cost   `json:"cost,omitempty"`
}

// Connect is whole connections: opened, one small message there and back,
// closed.
type Connect struct {
	Connections                  int64   `json:"connections"` // all turns together
	PerSecond                    float64 `json:"connections_per_second"`
	CPUMillisecondsPerConnection float64 `json:"cpu_milliseconds_per_connection,omitempty"`
	Cost                         *Cost   `json:"cost,omitempty"`
}

func newReport(p *Plan) Report {
	ep := p.Proxy.Endpoint
	r := Report{
		Date:    time.Now().UTC().Truncate(time.Second),
		Machine: thisMachine(),
		Target: About{
			Address: ep.Address, Mode: ep.Secret.Mode.String(), Protocol: ep.Protocol.String(), DC: int(ep.DC),
			DataCenter: p.DataCenter.Addr().String(), Processes: p.Proxy.Processes,
		},
		Settings: Settings{
			Connections: p.Connections, PacketBytes: p.PacketSize, EchoBytes: MinPacket,
			Seconds: p.Time.Seconds(), Turns: p.Turns, SettleSeconds: p.Settle.Seconds(),
		},
	}
	if p.Raw != nil {
		r.Raw = &Results{}
	}
	return r
}

// sides are the results, in the order of the plan's targets.
func (r *Report) sides() []*Results {
	if r.Raw == nil {
		return []*Results{&r.Proxy}
	}
	return []*Results{&r.Proxy, r.Raw}
}

// set makes a phase's turns into its figures.
func (r *Results) set(phase Phase, turns []turn, packetSize int) {
	var count int64
	for _, t := range turns {
		count += t.count
	}
	perSecond := medianOf(turns, func(t turn) float64 { return float64(t.count) / t.elapsed.Seconds() })
	// In seconds, for one packet, echo or connection; 0 if it is not known.
	cpu := medianOf(turns, func(t turn) float64 { return t.cpu.Seconds() / float64(t.count) })
	cost := costOf(turns)
	switch phase {
	case PhaseDownload, PhaseUpload:
		result := &Throughput{
			Bytes:            count * int64(packetSize),
			MiBPerSecond:     perSecond * float64(packetSize) / (1 << 20),
			CPUSecondsPerGiB: cpu / float64(packetSize) * (1 << 30),
			Cost:             cost,
		}
		if phase == PhaseDownload {
			r.Download = result
		} else {
			r.Upload = result
		}
	case PhaseLatency:
		r.Latency = &Latency{
			Echoes: count,
			P50:    medianOf(turns, func(t turn) float64 { return percentile(t.latency, 0.5) }),
			P99:    medianOf(turns, func(t turn) float64 { return percentile(t.latency, 0.99) }),
			P999:   medianOf(turns, func(t turn) float64 { return percentile(t.latency, 0.999) }),

			CPUMicrosecondsPerEcho: cpu * 1e6,
			Cost:                   cost,
		}
	case PhaseConnect:
		r.Connect = &Connect{
			Connections: count, PerSecond: perSecond, CPUMillisecondsPerConnection: cpu * 1e3, Cost: cost,
		}
	}
}

func costOf(turns []turn) *Cost {
	if !turns[0].measured {
		return nil
	}
	return &Cost{
		CPUCores:  medianOf(turns, func(t turn) float64 { return t.cpu.Seconds() / t.elapsed.Seconds() }),
		MemoryMiB: medianOf(turns, func(t turn) float64 { return float64(t.memory) / (1 << 20) }),
	}
}

// medianOf is the median of one figure of all turns; of an even number, the
// mean of the two in the middle.
func medianOf(turns []turn, figure func(turn) float64) float64 {
	values := make([]float64, 0, len(turns))
	for _, t := range turns {
		values = append(values, figure(t))
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// percentile is the least value that the share p of all does not exceed, in
// microseconds.
func percentile(values []time.Duration, p float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	i := int(math.Ceil(p*float64(len(sorted)))) - 1
	return float64(sorted[max(i, 0)]) / float64(time.Microsecond)
}

// Measured says whether there is any figure in it.
func (r *Report) Measured() bool { return r.Proxy != (Results{}) }
