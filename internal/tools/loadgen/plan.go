package loadgen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/mtwire/mtwire"
)

// Plan configures a benchmark. Proxy and DataCenter are required; the zero value of
// each other field is its default.
type Plan struct {
	// Proxy is the proxy to measure.
	Proxy Target
	// Raw is the baseline of a comparison, a relay without protocol work; see
	// ServeRaw. The two are measured in turns. nil is no comparison.
	Raw *Target
	// DataCenter is the upstream of both. The caller serves it.
	DataCenter *DataCenter

	// Phases are the phases to measure. They run in the order of the function
	// Phases. nil is DefaultPhases.
	Phases []Phase
	// Connections is the number of concurrent connections of the phases
	// download, upload and connect. 0 is 4.
	Connections int
	// PacketSize is the length of a packet of data, in bytes; see
	// CheckPacketSize. 0 is the greatest up to 64 KiB.
	PacketSize int
	// Time is the duration of a phase on each side, all turns together. 0 is 5
	// seconds.
	Time time.Duration
	// Turns is the number of parts of a phase. The report has their medians. 0 is
	// 5.
	Turns int
	// Idle is the number of idle connections. 0 is 1000.
	Idle int
	// Chat is the load of the phase chat, and of those of chat beside Connections
	// downloads or uploads at full speed.
	Chat ChatLoad
	// Bulk has the standard input and output of a process that runs ServeBulk, for the
	// downloads and uploads beside a chat. If it is nil, the runner makes them itself,
	// and delays the echoes that it measures.
	Bulk io.ReadWriter
	// Hurry gives this process a higher priority in the phases of chat, where that is
	// possible, so that its own waits for a processor are not part of the figures. A
	// process that is started meanwhile has it, too. The proxy must not be in this
	// process.
	Hurry bool
	// Awake starts a process that runs KeepAwake, and returns what ends it. With it,
	// processors do not sleep in the phases of small messages, so that the time that
	// it takes to wake one is no part of the figures. nil lets them sleep.
	Awake func(ctx context.Context, processors []int) (stop func(), err error)
	// Churn is the load of the phase churn.
	Churn ChurnLoad
	// Paced is the load of the phase paced.
	Paced PacedLoad
	// Settle is the wait after many connections were opened: before memory is read,
	// and before the first turn of chat. 0 is 3 seconds.
	Settle time.Duration
	// Timeout is the limit for an operation beyond its regular duration. 0 is 10
	// seconds.
	Timeout time.Duration

	// Progress is called with a line of text for each warning, and at the start of
	// each phase. nil drops it.
	Progress func(string)
}

// Target is a proxy or relay that leads to the data centre.
type Target struct {
	// Endpoint is the endpoint that clients connect to: TCP, obfuscated, or WEB.
	Endpoint mtwire.Endpoint
	// WEB is how a WEB proxy is dialled, nil for the default.
	WEB *mtwire.DialConfig
	// Processes are the process IDs whose CPU time and memory are measured, on
	// Linux. Without any, the report does not have these.
	Processes []int

	hello []byte // a ClientHello, of which each connection sends a variant
}

// Phase is a part of the benchmark.
type Phase string

// The phases.
const (
	PhaseIdle     Phase = "idle"     // memory of idle connections
	PhaseDownload Phase = "download" // data centre to client, at full speed
	PhaseUpload   Phase = "upload"   // client to data centre, at full speed
	PhaseLatency  Phase = "latency"  // echoes of a small message, one at a time
	PhaseConnect  Phase = "connect"  // new connections at full speed, one echo on each
	PhaseChat     Phase = "chat"     // echoes on many connections, a fixed number a second
	// Chat beside downloads and uploads at full speed, which are in the background:
	// the figures are those of the echoes.
	PhaseChatDownload Phase = "chat+download"
	PhaseChatUpload   Phase = "chat+upload"
	PhasePaced        Phase = "paced" // downloads that are held to a rate
	PhaseChurn        Phase = "churn" // new connections, a fixed number a second, one echo on each
)

// Phases returns all phases in the order in which they run. Idle connections come
// first: later they would use memory that the proxy allocated in other phases.
func Phases() []Phase {
	return append(DefaultPhases(), PhaseChat, PhaseChatDownload, PhaseChatUpload, PhasePaced, PhaseChurn)
}

// DefaultPhases returns the phases of a Plan that names none.
func DefaultPhases() []Phase {
	return []Phase{PhaseIdle, PhaseDownload, PhaseUpload, PhaseLatency, PhaseConnect}
}

// complete sets the defaults and checks the plan.
func (p *Plan) complete() error {
	setDefault(&p.Connections, 4)
	setDefault(&p.PacketSize, RoundPacketSize(64<<10))
	setDefault(&p.Time, 5*time.Second)
	setDefault(&p.Turns, 5)
	setDefault(&p.Idle, 1000)
	setDefault(&p.Settle, 3*time.Second)
	setDefault(&p.Timeout, 10*time.Second)
	p.Chat.setDefaults()
	p.Churn.setDefaults()
	p.Paced.setDefaults()
	if p.Phases == nil {
		p.Phases = DefaultPhases()
	}
	if p.Progress == nil {
		p.Progress = func(string) {}
	}
	for _, phase := range p.Phases {
		if !slices.Contains(Phases(), phase) {
			return fmt.Errorf("unknown phase %q: want some of %q", phase, Phases())
		}
	}
	if p.Connections < 0 || p.Time < 0 || p.Turns < 0 || p.Idle < 0 || p.Settle < 0 || p.Timeout < 0 {
		return errors.New("plan with a negative number")
	}
	if err := errors.Join(p.Chat.check(), p.Churn.check(), p.Paced.check()); err != nil {
		return err
	}
	for _, t := range p.targets() {
		if err := t.prepareHello(); err != nil {
			return err
		}
		if t.Endpoint.Carrier != mtwire.TCP {
			return fmt.Errorf("carrier %v: clients of an MTProxy connect over TCP", t.Endpoint.Carrier)
		}
		if _, err := processes(t.Processes).time(); err != nil {
			return err
		}
		if _, err := processes(t.Processes).memory(); err != nil {
			return err
		}
	}
	return CheckPacketSize(p.PacketSize)
}

// Beside reports whether the plan has a phase of chat beside downloads or uploads.
func (p *Plan) Beside() bool { return p.includes(PhaseChatDownload) || p.includes(PhaseChatUpload) }

// includes reports whether the plan has a phase.
func (p *Plan) includes(phase Phase) bool { return slices.Contains(p.Phases, phase) }

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// targets returns the sides, the proxy first.
func (p *Plan) targets() []*Target {
	if p.Raw == nil {
		return []*Target{&p.Proxy}
	}
	return []*Target{&p.Proxy, p.Raw}
}

// name returns the name of a side, for errors.
func (p *Plan) name(t *Target) string {
	if t == p.Raw {
		return "the raw relay"
	}
	return "the proxy"
}
