package loadgen

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Run executes the plan. It returns an error for an invalid plan, and for a proxy
// or raw relay that fails; the report has the figures of the phases before.
func Run(ctx context.Context, plan Plan) (Report, error) {
	if err := plan.complete(); err != nil {
		return Report{}, err
	}
	r := &runner{Plan: &plan, report: newReport(&plan)}
	for _, t := range plan.targets() {
		if err := r.check(ctx, t); err != nil {
			return r.report, err
		}
	}
	defer r.stopChats(ctx)
	if err := r.checkDescriptors(); err != nil {
		return r.report, err
	}
	if watched := plan.Proxy.Processes; plan.Awake != nil && len(watched) > 0 {
		if warning := groupWarning(watched[0]); warning != "" {
			r.report.Warnings = append(r.report.Warnings, warning)
		}
	}
	for _, warning := range r.report.Warnings {
		plan.Progress("warning: " + warning)
	}
	for _, phase := range Phases() {
		if !r.includes(phase) {
			continue
		}
		plan.Progress(r.announce(phase))
		if err := r.run(ctx, phase); err != nil {
			return r.report, fmt.Errorf("%s: %w", phase, err)
		}
	}
	return r.report, nil
}

// runner executes a plan.
type runner struct {
	*Plan
	report Report
	chats  []*chat // of each side, from the first phase of chat to the last

	restore func() // after raisePriority; nil otherwise
}

// announce returns the line of progress for a phase.
func (r *runner) announce(phase Phase) string {
	if phase == PhaseIdle {
		return fmt.Sprintf("%s: %d connections", phase, r.Idle)
	}
	if r.Raw == nil {
		return fmt.Sprintf("%s: %v", phase, r.Time)
	}
	return fmt.Sprintf("%s: %v, and the same through the raw relay", phase, r.Time)
}

// run measures one phase, the sides in turns.
func (r *runner) run(ctx context.Context, phase Phase) error {
	stop, err := r.keepAwake(ctx, phase)
	if err != nil {
		return fmt.Errorf("processors that are kept awake: %w", err)
	}
	defer stop()
	switch phase {
	case PhaseIdle:
		return r.idle(ctx)
	case PhaseChat, PhaseChatDownload, PhaseChatUpload:
		return r.chat(ctx, phase)
	}
	r.stopChats(ctx)
	return r.takeTurns(phase, func(side int) (turn, error) {
		return r.turn(ctx, phase, r.targets()[side])
	})
}

// takeTurns calls take for each side in turns, and sets the figures of the phase.
func (r *runner) takeTurns(phase Phase, take func(side int) (turn, error)) error {
	turns := make([][]turn, len(r.targets()))
	for range r.Turns {
		for side, t := range r.targets() {
			one, err := take(side)
			if err != nil {
				return fmt.Errorf("through %s: %w", r.name(t), r.explain(err))
			}
			turns[side] = append(turns[side], one)
		}
	}
	for side, results := range r.report.sides() {
		results.set(phase, turns[side], r.packetSize(phase))
	}
	return nil
}

// turn is the result of one part of a phase on one side.
type turn struct {
	count   int64 // packets, echoes or connections
	elapsed time.Duration
	latency []time.Duration // of each echo or connection
	missed  int64           // echoes or connections that were due and not started
	beside  int64           // packets of the downloads or uploads beside a chat

	measured bool          // cpu and memory are known
	cpu      time.Duration // CPU time used
	memory   int64         // resident at the end, in bytes
}

// turn opens the connections for one turn of a phase and measures it.
func (r *runner) turn(ctx context.Context, phase Phase, t *Target) (turn, error) {
	length := r.turnLength()
	ctx, cancel := context.WithTimeout(ctx, length+r.Timeout)
	defer cancel()
	connections := 0
	switch phase {
	case PhaseDownload, PhaseUpload:
		connections = r.Connections
	case PhaseLatency:
		connections = 1
	case PhasePaced:
		connections = r.Paced.Connections
	}
	clients, err := r.open(ctx, t, connections, 0, r.packetSize(phase))
	if err != nil {
		return turn{}, err
	}
	defer closeAll(clients)
	return measure(t, func(start time.Time) (turn, error) {
		return r.work(ctx, phase, t, clients, start.Add(length))
	})
}

// turnLength returns the duration of a turn.
func (p *Plan) turnLength() time.Duration { return p.Time / time.Duration(p.Turns) }

// measure calls work and adds its duration and its cost to its result.
func measure(t *Target, work func(start time.Time) (turn, error)) (turn, error) {
	watched := processes(t.Processes)
	before, err := watched.time()
	if err != nil {
		return turn{}, err
	}
	start := time.Now()
	result, err := work(start)
	if err != nil {
		return turn{}, err
	}
	result.elapsed = time.Since(start)
	after, err := watched.time()
	if err != nil {
		return turn{}, err
	}
	result.cpu, result.measured = after-before, len(watched) > 0
	result.memory, err = watched.memory()
	return result, err
}

// packetSize returns the length of a packet of data of a phase, in bytes.
func (p *Plan) packetSize(phase Phase) int {
	if phase == PhasePaced {
		return p.Paced.Size
	}
	return p.PacketSize
}

// work generates the load of a turn until end.
func (r *runner) work(ctx context.Context, phase Phase, t *Target, clients []*Client, end time.Time) (result turn, err error) {
	switch phase {
	case PhaseDownload:
		result.count, err = each(ctx, clients, func(ctx context.Context, c *Client) (int64, error) {
			return c.downloadUntil(ctx, end)
		})
	case PhaseUpload:
		result.count, err = each(ctx, clients, func(ctx context.Context, c *Client) (int64, error) {
			return c.uploadUntil(ctx, end)
		})
	case PhaseLatency:
		result.latency, err = clients[0].echoUntil(ctx, end)
		result.count = int64(len(result.latency))
	case PhaseConnect:
		result.count, err = each(ctx, make([]struct{}, r.Connections), func(ctx context.Context, _ struct{}) (int64, error) {
			return r.connectUntil(ctx, t, end)
		})
	case PhasePaced:
		result.count, err = each(ctx, clients, func(ctx context.Context, c *Client) (int64, error) {
			return r.pacedUntil(ctx, c, end)
		})
	case PhaseChurn:
		result, err = r.churnUntil(ctx, t, end)
	}
	return result, err
}

// open opens n connections, openAtOnce at a time, and makes an echo on each. first
// is the number of connections that are open already, packetSize that of a packet
// of data.
func (r *runner) open(ctx context.Context, t *Target, n, first, packetSize int) ([]*Client, error) {
	clients := make([]*Client, n)
	workers := make([]int, min(n, openAtOnce))
	for i := range workers {
		workers[i] = i
	}
	opened, err := each(ctx, workers, func(ctx context.Context, worker int) (opened int64, err error) {
		for i := worker; i < n; i += len(workers) {
			if clients[i], err = t.dial(ctx, first+i, packetSize); err != nil {
				return opened, err
			}
			opened++
		}
		return opened, nil
	})
	if err != nil {
		closeAll(clients)
		return nil, fmt.Errorf("with %d connections open: %w", int64(first)+opened, err)
	}
	return clients, nil
}

// openAtOnce is the number of connections that are opened concurrently. It is less
// than any usual listen backlog.
const openAtOnce = 32

func closeAll(clients []*Client) {
	for _, c := range clients {
		if c != nil {
			c.Close()
		}
	}
}

// each calls f for all items concurrently and returns the sum of the results. The
// first error cancels the other calls, and is returned.
func each[T any](ctx context.Context, items []T, f func(context.Context, T) (int64, error)) (total int64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	var running sync.WaitGroup
	for _, item := range items {
		running.Go(func() {
			n, failed := f(ctx, item)
			mu.Lock()
			defer mu.Unlock()
			total += n
			if failed != nil && err == nil {
				err = failed
				cancel()
			}
		})
	}
	running.Wait()
	return total, err
}
