package loadgen

import (
	"math"
	"os"
	"slices"
	"time"
)

// Report is the result of a benchmark. In JSON it is one object with stable keys, in
// which figures that were not measured are absent. It has no secrets.
type Report struct {
	Date     time.Time  `json:"date"`
	Machine  Machine    `json:"machine"`
	Target   TargetInfo `json:"target"`
	Settings Settings   `json:"settings"`
	// Processors is nil where the processes may run on all processors that the load
	// generator may run on, and no others.
	Processors *Processors `json:"processors,omitempty"`
	// TCP is nil where it is not known: on systems other than Linux.
	TCP *TCP `json:"tcp,omitempty"`
	// Warnings have reasons not to use the figures.
	Warnings []string `json:"warnings,omitempty"`
	// Proxy and Raw are the figures of the two sides. Raw is nil without a
	// comparison.
	Proxy Results  `json:"proxy"`
	Raw   *Results `json:"raw,omitempty"`
}

// TargetInfo describes the proxy that was measured.
type TargetInfo struct {
	Address    string `json:"address"`
	Mode       string `json:"mode"`        // of the secret: plain, padded or faketls
	Protocol   string `json:"protocol"`    // the framing
	DC         int    `json:"dc"`          // in the init payload
	DataCenter string `json:"data_center"` // address of the load generator's data centre
	Processes  []int  `json:"processes,omitempty"`
}

// Processors are the numbers of the processors that each part may run on.
type Processors struct {
	Proxy []int `json:"proxy"` // those of the process that is measured, and of the raw relay
	Load  []int `json:"load"`
}

// Settings are the parameters of the benchmark.
type Settings struct {
	Connections   int     `json:"connections"`
	PacketBytes   int     `json:"packet_bytes"`
	EchoBytes     int     `json:"echo_bytes"`
	Seconds       float64 `json:"seconds"` // for each phase and side
	Turns         int     `json:"turns"`
	SettleSeconds float64 `json:"settle_seconds"`
	// Awake reports whether processors were kept from sleeping in the phases of small
	// messages.
	Awake bool `json:"awake,omitempty"`

	Chat  *ChatSettings  `json:"chat,omitempty"`
	Churn *ChurnSettings `json:"churn,omitempty"`
	Paced *PacedSettings `json:"paced,omitempty"`
}

// ChatSettings are the parameters of the phase chat, alone and beside downloads and
// uploads.
type ChatSettings struct {
	Connections     int     `json:"connections"`
	EchoBytes       int     `json:"echo_bytes"`
	IntervalSeconds float64 `json:"interval_seconds"` // from an echo of a connection to its next
	// Priority is that of the load generator's process: SCHED_RR, nice -10 or normal.
	Priority string `json:"priority"`
	// BulkPriority is that of the process that makes the downloads and uploads beside
	// the chat: SCHED_IDLE or normal. It is empty if no other process does.
	BulkPriority string `json:"bulk_priority,omitempty"`
}

// ChurnSettings are the parameters of the phase churn.
type ChurnSettings struct {
	PerSecond int `json:"connections_per_second"`
}

// PacedSettings are the parameters of the phase paced.
type PacedSettings struct {
	Connections   int   `json:"connections"`
	BitsPerSecond int64 `json:"bits_per_second"` // of each connection
	PacketBytes   int   `json:"packet_bytes"`
}

// Results are the figures of one side, medians of its turns.
type Results struct {
	Idle     *Idle       `json:"idle,omitempty"`
	Download *Throughput `json:"download,omitempty"`
	Upload   *Throughput `json:"upload,omitempty"`
	Latency  *Latency    `json:"latency,omitempty"`
	Connect  *Connect    `json:"connect,omitempty"`
	Chat     *Chat       `json:"chat,omitempty"`
	// ChatDownload and ChatUpload are the figures of a chat beside downloads and
	// uploads.
	ChatDownload *Chat  `json:"chat_download,omitempty"`
	ChatUpload   *Chat  `json:"chat_upload,omitempty"`
	Paced        *Paced `json:"paced,omitempty"`
	Churn        *Churn `json:"churn,omitempty"`
}

// Idle is the cost of idle connections.
type Idle struct {
	Connections int         `json:"connections"`
	Memory      *IdleMemory `json:"memory,omitempty"`
}

// IdleMemory is the resident memory of the processes without the idle connections
// and with them. It excludes the kernel's socket buffers.
type IdleMemory struct {
	BeforeMiB        float64 `json:"before_mib"`
	AfterMiB         float64 `json:"after_mib"`
	KiBPerConnection float64 `json:"kib_per_connection"`
}

// Cost is the CPU time and memory of the processes in a phase.
type Cost struct {
	// CPUCores is CPU time divided by elapsed time: 1 is one core always busy.
	CPUCores float64 `json:"cpu_cores"`
	// MemoryMiB is the resident memory at the end, with connections still open.
	MemoryMiB float64 `json:"memory_mib"`
}

// Throughput is the speed of data in one direction. Bytes are bytes of packets,
// without framing and TLS records.
type Throughput struct {
	Bytes            int64   `json:"bytes"` // sum of all turns
	MiBPerSecond     float64 `json:"mib_per_second"`
	CPUSecondsPerGiB float64 `json:"cpu_seconds_per_gib,omitempty"`
	Cost             *Cost   `json:"cost,omitempty"`
}

// Latency is the round trip time of a small message, one at a time on one
// connection.
type Latency struct {
	Echoes                 int64   `json:"echoes"` // sum of all turns
	P50                    float64 `json:"p50_microseconds"`
	P99                    float64 `json:"p99_microseconds"`
	P999                   float64 `json:"p999_microseconds"`
	CPUMicrosecondsPerEcho float64 `json:"cpu_microseconds_per_echo,omitempty"`
	Cost                   *Cost   `json:"cost,omitempty"`
}

// Connect is the rate of whole connections: connect, handshake, one echo, close.
type Connect struct {
	Connections                  int64   `json:"connections"` // sum of all turns
	PerSecond                    float64 `json:"connections_per_second"`
	CPUMillisecondsPerConnection float64 `json:"cpu_milliseconds_per_connection,omitempty"`
	Cost                         *Cost   `json:"cost,omitempty"`
}

// Chat is the cost and the round trip times of echoes on many connections.
type Chat struct {
	Echoes int64 `json:"echoes"` // sum of all turns
	// Missed is the number of echoes that were due while the one before on the same
	// connection was unanswered, in all turns.
	Missed    int64   `json:"missed"`
	PerSecond float64 `json:"echoes_per_second"`
	P50       float64 `json:"p50_microseconds"`
	P99       float64 `json:"p99_microseconds"`
	// CPUMicrosecondsPerEcho is absent beside downloads and uploads.
	CPUMicrosecondsPerEcho float64 `json:"cpu_microseconds_per_echo,omitempty"`
	// MiBPerSecond is the speed of the downloads or uploads beside the chat.
	MiBPerSecond float64 `json:"mib_per_second,omitempty"`
	Cost         *Cost   `json:"cost,omitempty"`
}

// Paced is the cost of downloads that are held to a rate.
type Paced struct {
	Packets                  int64   `json:"packets"`        // sum of all turns
	MiBPerSecond             float64 `json:"mib_per_second"` // of all connections
	CPUMicrosecondsPerPacket float64 `json:"cpu_microseconds_per_packet,omitempty"`
	Cost                     *Cost   `json:"cost,omitempty"`
}

// Churn is the cost of connections that come at a fixed rate, and their duration
// from the start of the connection to the answer of its echo.
type Churn struct {
	Connections int64 `json:"connections"` // sum of all turns
	// Missed is the number of connections that were due and not made, because too
	// many were open, in all turns.
	Missed                       int64   `json:"missed"`
	PerSecond                    float64 `json:"connections_per_second"`
	P50                          float64 `json:"p50_microseconds"`
	P99                          float64 `json:"p99_microseconds"`
	CPUMillisecondsPerConnection float64 `json:"cpu_milliseconds_per_connection,omitempty"`
	Cost                         *Cost   `json:"cost,omitempty"`
}

func newReport(p *Plan) Report {
	ep := p.Proxy.Endpoint
	r := Report{
		Date:    time.Now().UTC().Truncate(time.Second),
		Machine: thisMachine(),
		Target: TargetInfo{
			Address: ep.Address, Mode: ep.Secret.Mode.String(), Protocol: ep.Protocol.String(), DC: int(ep.DC),
			DataCenter: p.DataCenter.Addr().String(), Processes: p.Proxy.Processes,
		},
		Settings: Settings{
			Connections: p.Connections, PacketBytes: p.PacketSize, EchoBytes: MinLength,
			Seconds: p.Time.Seconds(), Turns: p.Turns, SettleSeconds: p.Settle.Seconds(),
			Awake: p.Awake != nil,
		},
	}
	if watched := p.Proxy.Processes; len(watched) > 0 {
		proxy, err := processors(watched[0])
		load, failed := processors(os.Getpid())
		if err == nil && failed == nil && !slices.Equal(proxy, load) {
			r.Processors = &Processors{proxy, load}
		}
	}
	if p.includes(PhaseChat) || p.Beside() {
		r.Settings.Chat = &ChatSettings{
			Connections: p.Chat.Connections, EchoBytes: p.Chat.Size, IntervalSeconds: p.Chat.Interval.Seconds(),
			Priority: normalPriority,
		}
	}
	if p.includes(PhasePaced) {
		r.Settings.Paced = &PacedSettings{p.Paced.Connections, p.Paced.Rate, p.Paced.Size}
	}
	if p.includes(PhaseChurn) {
		r.Settings.Churn = &ChurnSettings{p.Churn.Rate}
	}
	if p.Raw != nil {
		r.Raw = &Results{}
	}
	return r
}

// sides returns the results of each side, in the order of Plan.targets.
func (r *Report) sides() []*Results {
	if r.Raw == nil {
		return []*Results{&r.Proxy}
	}
	return []*Results{&r.Proxy, r.Raw}
}

// set computes the figures of a phase from its turns.
func (r *Results) set(phase Phase, turns []turn, packetSize int) {
	var count, missed int64
	for _, t := range turns {
		count += t.count
		missed += t.missed
	}
	perSecond := medianOf(turns, func(t turn) float64 { return float64(t.count) / t.elapsed.Seconds() })
	// In seconds for one packet, echo or connection; 0 if it was not measured.
	cpu := medianOf(turns, func(t turn) float64 { return t.cpu.Seconds() / float64(t.count) })
	latency := func(p float64) float64 {
		return medianOf(turns, func(t turn) float64 { return percentile(t.latency, p) })
	}
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
			P50:    latency(0.5),
			P99:    latency(0.99),
			P999:   latency(0.999),

			CPUMicrosecondsPerEcho: cpu * 1e6,
			Cost:                   cost,
		}
	case PhaseConnect:
		r.Connect = &Connect{
			Connections: count, PerSecond: perSecond, CPUMillisecondsPerConnection: cpu * 1e3, Cost: cost,
		}
	case PhaseChat, PhaseChatDownload, PhaseChatUpload:
		chat := &Chat{Echoes: count, Missed: missed, PerSecond: perSecond, P50: latency(0.5), P99: latency(0.99), Cost: cost}
		chat.MiBPerSecond = medianOf(turns, func(t turn) float64 { return float64(t.beside) / t.elapsed.Seconds() }) * float64(packetSize) / (1 << 20)
		switch phase {
		case PhaseChat:
			chat.CPUMicrosecondsPerEcho = cpu * 1e6
			r.Chat = chat
		case PhaseChatDownload:
			r.ChatDownload = chat
		case PhaseChatUpload:
			r.ChatUpload = chat
		}
	case PhasePaced:
		r.Paced = &Paced{
			Packets: count, MiBPerSecond: perSecond * float64(packetSize) / (1 << 20),
			CPUMicrosecondsPerPacket: cpu * 1e6, Cost: cost,
		}
	case PhaseChurn:
		r.Churn = &Churn{
			Connections: count, Missed: missed, PerSecond: perSecond, P50: latency(0.5), P99: latency(0.99),
			CPUMillisecondsPerConnection: cpu * 1e3, Cost: cost,
		}
	}
}

// costOf returns the median cost of turns, nil if it was not measured.
func costOf(turns []turn) *Cost {
	if !turns[0].measured {
		return nil
	}
	return &Cost{
		CPUCores:  medianOf(turns, func(t turn) float64 { return t.cpu.Seconds() / t.elapsed.Seconds() }),
		MemoryMiB: medianOf(turns, func(t turn) float64 { return float64(t.memory) / (1 << 20) }),
	}
}

// medianOf returns the median of one figure of all turns. For an even number of
// turns it is the mean of the middle two.
func medianOf(turns []turn, figure func(turn) float64) float64 {
	values := make([]float64, 0, len(turns))
	for _, t := range turns {
		values = append(values, figure(t))
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// percentile returns the least value that is not exceeded by the share p of all
// values, in microseconds.
func percentile(values []time.Duration, p float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	i := int(math.Ceil(p*float64(len(sorted)))) - 1
	return float64(sorted[max(i, 0)]) / float64(time.Microsecond)
}

// Measured reports whether the report has any figure.
func (r *Report) Measured() bool { return r.Proxy != (Results{}) }
