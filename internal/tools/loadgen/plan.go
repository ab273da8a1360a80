package loadgen

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"github.com/mtwire/mtwire"
)

// Plan is what Run does. The zero values of all but Proxy and DataCenter are
// good.
type Plan struct {
	// Proxy is what is measured.
	Proxy Target
	// Raw is what it is compared with, a relay without protocol work; see
	// ServeRaw. The two are measured in turns. Nil means no comparison.
	Raw *Target
	// DataCenter is where both lead to. It is being served.
	DataCenter *DataCenter

	// Phases are what to measure, in the order of Phases whatever order they
	// are given in. Nil means all.
	Phases []Phase
	// Connections is how many there are at the same time, when moving data and
	// when connecting. 0 means 4.
	Connections int
	// PacketSize is the length of a packet of data, in bytes; see
	// CheckPacketSize. 0 means as many as fit into 64 KiB.
	PacketSize int
	// Time is how long each phase takes on each side, its turns together. 0
	// means 5 seconds.
	Time time.Duration
	// Turns is into how many parts a phase is cut; what is reported is their
	// median. 0 means 5.
	Turns int
	// Idle is how many connections are idle. 0 means 1000.
	Idle int
	// Settle is how long a side is left alone before its memory is read. 0
	// means 3 seconds.
	Settle time.Duration
	// Patience is how long anything may take beyond its time. 0 means 10
	// seconds.
	Patience time.Duration

	// Progress is told what comes next, in words. Nil means that nobody
	// listens.
	Progress func(string)
}

// Target is one way to the data centre.
type Target struct {
	// Endpoint is where clients connect and how they speak: TCP, obfuscated.
	Endpoint mtwire.Endpoint
	// Processes are the numbers of those whose processor time and memory are
	// read, on Linux. Without any, these are not reported.
	Processes []int
}

// Phase is one thing to measure.
type Phase string

// The phases.
const (
	PhaseIdle     Phase = "idle"     // memory for each connection that does nothing
	PhaseDownload Phase = "download" // data centre to client, as fast as it goes
	PhaseUpload   Phase = "upload"   // client to data centre
	PhaseLatency  Phase = "latency"  // one small message at a time, there and back
	PhaseConnect  Phase = "connect"  // new connections, one small message on each
)

// Phases lists all of them in the order in which they run. The idle connections
// come first: memory that a proxy took for something else would be used for
// them.
func Phases() []Phase {
	return []Phase{PhaseIdle, PhaseDownload, PhaseUpload, PhaseLatency, PhaseConnect}
}

func (p *Plan) complete() error {
	setDefault(&p.Connections, 4)
	setDefault(&p.PacketSize, RoundPacketSize(64<<10))
	setDefault(&p.Time, 5*time.Second)
	setDefault(&p.Turns, 5)
	setDefault(&p.Idle, 1000)
	setDefault(&p.Settle, 3*time.Second)
	setDefault(&p.Patience, 10*time.Second)
	if p.Phases == nil {
		p.Phases = Phases()
	}
	if p.Progress == nil {
		p.Progress = func(string) {}
	}
	for _, phase := range p.Phases {
		if !slices.Contains(Phases(), phase) {
			return fmt.Errorf("no phase is called %q: want some of %q", phase, Phases())
		}
	}
	if p.Connections < 0 || p.Time < 0 || p.Turns < 0 || p.Idle < 0 || p.Settle < 0 || p.Patience < 0 {
		return fmt.Errorf("a negative number in the plan")
	}
	for _, t := range p.targets() {
		if t.Endpoint.Carrier != mtwire.TCP {
			return fmt.Errorf("%v in place of TCP: no proxy speaks that", t.Endpoint.Carrier)
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

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// targets are the sides, the proxy first.
func (p *Plan) targets() []*Target {
	if p.Raw == nil {
		return []*Target{&p.Proxy}
	}
	return []*Target{&p.Proxy, p.Raw}
}

// name is what errors call a side.
func (p *Plan) name(t *Target) string {
	if t == p.Raw {
		return "the raw relay"
	}
	return "the proxy"
}

// portsPerAddress is how many connections one address of this machine makes to
// one server, of the 28,000 that Linux has ports for.
const portsPerAddress = 20_000

// dial opens the connection with the given number, of those that are open at
// the same time. More than one address has ports for go out from others, on
// loopback, where Linux has 127.0.0.0/8.
func (t *Target) dial(ctx context.Context, number, packetSize int) (*Client, error) {
	var dialer net.Dialer
	address, err := netip.ParseAddrPort(t.Endpoint.Address)
	if err == nil && address.Addr().Is4() && address.Addr().IsLoopback() && runtime.GOOS == "linux" {
		if more := number / portsPerAddress; more > 0 {
			dialer.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, byte(more>>8), byte(more)+1)}
		}
	}
	conn, err := mtwire.DialEndpoint(ctx, t.Endpoint, &mtwire.DialConfig{DialContext: dialer.DialContext})
	if err != nil {
		return nil, err
	}
	c, err := NewClient(conn, packetSize)
	if err == nil {
		err = c.Echo(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}
