package loadgen

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// WriteText writes the report as text: a header and a table.
func (r *Report) WriteText(w io.Writer) error {
	_, err := io.WriteString(w, r.head()+"\n"+r.table())
	return err
}

func (r *Report) head() string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-9s %s\n", name, fmt.Sprintf(format, args...))
	}
	t, s, m := &r.Target, &r.Settings, &r.Machine
	line("proxy", "%s, %s secret, %s, DC %d at %s", t.Address, t.Mode, t.Protocol, t.DC, t.DataCenter)
	cpu := m.CPU
	if cpu == "" {
		cpu = "CPU"
	}
	line("machine", "%s/%s, %d × %s, %s", m.OS, m.Arch, m.CPUs, cpu, m.Go)
	if p := r.Processors; p != nil {
		sides := "the proxy"
		if r.Raw != nil {
			sides += " and the raw relay"
		}
		line("", "%s on %s, the load on %s", sides, numbers(p.Proxy), numbers(p.Load))
	}
	if r.TCP != nil {
		line("tcp", "%v", r.TCP)
	}
	line("date", "%s", r.Date.Format(time.RFC3339))
	line("settings", "%d connections, packets of %d bytes, echoes of %d, %v s a phase in %d turns (medians)",
		s.Connections, s.PacketBytes, s.EchoBytes, s.Seconds, s.Turns)
	if s.Awake {
		line("", "no processor sleeps in the phases of small messages")
	}
	if c := s.Chat; c != nil {
		line("chat", "%d connections, an echo of %d bytes on each every %v s", c.Connections, c.EchoBytes, c.IntervalSeconds)
		bulk := "none of their own"
		if c.BulkPriority != "" {
			bulk = c.BulkPriority
		}
		line("", "priority: %s; that of downloads and uploads beside it: %s", c.Priority, bulk)
	}
	if p := s.Paced; p != nil {
		line("paced", "%d downloads of %v Mbit/s each, in packets of %d bytes", p.Connections, float64(p.BitsPerSecond)/1e6, p.PacketBytes)
	}
	if c := s.Churn; c != nil {
		line("churn", "%d connections a second, one echo on each", c.PerSecond)
	}
	for _, warning := range r.Warnings {
		line("warning", "%s", warning)
	}
	return b.String()
}

// numbers formats the numbers of processors, as "processor 0" or "processors 1, 2".
func numbers(list []int) string {
	text := strings.Trim(strings.ReplaceAll(fmt.Sprint(list), " ", ", "), "[]")
	if len(list) == 1 {
		return "processor " + text
	}
	return "processors " + text
}

// table formats the figures in a column for the proxy and, in a comparison, one for
// the raw relay and one for the ratio.
func (r *Report) table() string {
	proxy := r.Proxy.figures()
	rows, raw := proxy, []figure(nil)
	if r.Raw != nil {
		// One side may have rows that the other does not have: its processes
		// are not known, or the benchmark ended early.
		if raw = r.Raw.figures(); len(raw) > len(rows) {
			rows = raw
		}
	}
	if len(rows) == 0 {
		return ""
	}
	var b strings.Builder
	width := 9
	for _, row := range rows {
		width = max(width, len(row.phase))
	}
	line := func(phase, name string, columns ...string) {
		fmt.Fprintf(&b, "%-*s %-24s", width, phase, name)
		for _, column := range columns {
			fmt.Fprintf(&b, " %10s", column)
		}
		b.WriteByte('\n')
	}
	if r.Raw != nil {
		line("", "", "PROXY", "RAW", "PROXY/RAW")
	} else {
		line("", "", "PROXY")
	}
	var last Phase
	for _, row := range rows {
		phase := ""
		if row.phase != last {
			phase, last = string(row.phase), row.phase
		}
		ours, known := find(proxy, row)
		columns := []string{number(ours, known)}
		if r.Raw != nil {
			theirs, rawKnown := find(raw, row)
			columns = append(columns, number(theirs, rawKnown),
				number(ours/theirs, known && rawKnown && theirs > 0))
		}
		line(phase, row.name, columns...)
	}
	return b.String()
}

// figure is the value of one side in a row.
type figure struct {
	phase Phase
	name  string // with its unit
	value float64
}

// find returns the figure of the same row, and reports whether it is known.
func find(figures []figure, row figure) (value float64, known bool) {
	for _, f := range figures {
		if f.phase == row.phase && f.name == row.name {
			return f.value, true
		}
	}
	return 0, false
}

// figures lists the figures that were measured, in the order of the phases.
func (r *Results) figures() (rows []figure) {
	var phase Phase
	add := func(name string, value float64) { rows = append(rows, figure{phase, name, value}) }
	resources := func(c *Cost) {
		if c != nil {
			add("CPU, cores", c.CPUCores)
			add("memory, MiB", c.MemoryMiB)
		}
	}
	cost := func(c *Cost, name string, value float64) {
		if c != nil {
			add(name, value)
			resources(c)
		}
	}
	throughput := func(t *Throughput) {
		if t != nil {
			add("throughput, MiB/s", t.MiBPerSecond)
			cost(t.Cost, "CPU, s/GiB", t.CPUSecondsPerGiB)
		}
	}
	phase = PhaseIdle
	if r.Idle != nil {
		add("connections", float64(r.Idle.Connections))
		if m := r.Idle.Memory; m != nil {
			add("memory before, MiB", m.BeforeMiB)
			add("memory after, MiB", m.AfterMiB)
			add("memory, KiB/connection", m.KiBPerConnection)
		}
	}
	phase = PhaseDownload
	throughput(r.Download)
	phase = PhaseUpload
	throughput(r.Upload)
	phase = PhaseLatency
	if l := r.Latency; l != nil {
		add("p50, µs", l.P50)
		add("p99, µs", l.P99)
		add("p99.9, µs", l.P999)
		cost(l.Cost, "CPU, µs/echo", l.CPUMicrosecondsPerEcho)
	}
	phase = PhaseConnect
	if c := r.Connect; c != nil {
		add("connections/s", c.PerSecond)
		cost(c.Cost, "CPU, ms/connection", c.CPUMillisecondsPerConnection)
	}
	chat := func(c *Chat) {
		if c == nil {
			return
		}
		add("echoes/s", c.PerSecond)
		add("missed echoes", float64(c.Missed))
		add("p50, µs", c.P50)
		add("p99, µs", c.P99)
		if phase == PhaseChat {
			cost(c.Cost, "CPU, µs/echo", c.CPUMicrosecondsPerEcho)
		} else {
			add("throughput, MiB/s", c.MiBPerSecond)
			resources(c.Cost)
		}
	}
	phase = PhaseChat
	chat(r.Chat)
	phase = PhaseChatDownload
	chat(r.ChatDownload)
	phase = PhaseChatUpload
	chat(r.ChatUpload)
	phase = PhasePaced
	if p := r.Paced; p != nil {
		add("throughput, MiB/s", p.MiBPerSecond)
		cost(p.Cost, "CPU, µs/packet", p.CPUMicrosecondsPerPacket)
	}
	phase = PhaseChurn
	if c := r.Churn; c != nil {
		add("connections/s", c.PerSecond)
		add("missed connections", float64(c.Missed))
		add("p50, µs", c.P50)
		add("p99, µs", c.P99)
		cost(c.Cost, "CPU, ms/connection", c.CPUMillisecondsPerConnection)
	}
	return rows
}

// number formats v with three significant digits, or with all digits before the
// point if they are more. A figure that is not known is "-".
func number(v float64, known bool) string {
	switch {
	case !known:
		return "-"
	case v == 0:
		return "0"
	}
	digits := 0
	for limit := 100.0; digits < 3 && math.Abs(v) < limit; limit /= 10 {
		digits++
	}
	return strconv.FormatFloat(v, 'f', digits, 64)
}
