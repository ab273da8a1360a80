package loadgen

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mtwire/mtwire"
)

// The downloads and uploads beside a chat, in a process of their own: in the one that
// measures the echoes they would delay these themselves. That process has its ends of
// the bulk connections, the data centre's included: it accepts them from the same
// socket, while the DataCenter of the runner does not accept.
//
// The runner writes an order, reads an opened, writes a start and reads a moved, each a
// value in JSON, any number of times.

// order asks for the connections of one turn.
type order struct {
	Endpoint    string        `json:"endpoint"`
	Upload      bool          `json:"upload"`
	Connections int           `json:"connections"`
	First       int           `json:"first"` // number of connections that are open already
	PacketSize  int           `json:"packet_bytes"`
	Length      time.Duration `json:"length"`
	Timeout     time.Duration `json:"timeout"` // beyond length
}

// opened is the answer to an order: its connections are open, or Error has the reason.
type opened struct {
	Priority string `json:"priority"` // of the process
	Error    string `json:"error,omitempty"`
}

// start starts the load.
type start struct{}

// moved is the result of an order.
type moved struct {
	Packets int64  `json:"packets"`
	Error   string `json:"error,omitempty"`
}

// ServeBulk makes the load that orders from the runner of another process ask for,
// until orders ends, which is no error, or ctx does. dc listens on the socket of the
// runner's DataCenter. ServeBulk serves it. priority, of LowerPriority, is for the report.
func ServeBulk(ctx context.Context, dc *DataCenter, priority string, orders io.Reader, answers io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := dc.gate.shut(); err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- dc.Serve(ctx) }()
	defer func() { cancel(); <-served }()
	if err := dc.gate.awaitShut(ctx); err != nil {
		return err
	}
	in, out := json.NewDecoder(orders), json.NewEncoder(answers)
	for {
		var o order
		if err := in.Decode(&o); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := o.serve(ctx, dc, priority, in, out); err != nil {
			return err
		}
	}
}

// serve makes the load of an order. It returns an error if it cannot continue with the
// next.
func (o *order) serve(ctx context.Context, dc *DataCenter, priority string, in *json.Decoder, out *json.Encoder) error {
	ctx, cancel := context.WithTimeout(ctx, o.Length+o.Timeout)
	defer cancel()
	ep, err := mtwire.ParseEndpoint(o.Endpoint)
	if err != nil {
		return err
	}
	r := &runner{Plan: &Plan{DataCenter: dc}}
	t := &Target{Endpoint: ep}
	if err := t.prepareHello(); err != nil {
		return err
	}
	if err := dc.gate.open(ctx); err != nil {
		return err
	}
	clients, err := r.open(ctx, t, o.Connections, o.First, o.PacketSize)
	defer closeAll(clients)
	err = errors.Join(err, dc.gate.shut(), dc.gate.awaitShut(ctx))
	if err != nil {
		return out.Encode(opened{Priority: priority, Error: err.Error()})
	}
	if err := out.Encode(opened{Priority: priority}); err != nil {
		return err
	}
	if err := in.Decode(&start{}); err != nil {
		return err
	}
	phase := PhaseDownload
	if o.Upload {
		phase = PhaseUpload
	}
	result, err := r.work(ctx, phase, t, clients, time.Now().Add(o.Length))
	answer := moved{Packets: result.count}
	if err != nil {
		answer.Error = err.Error()
	}
	return out.Encode(answer)
}

// bulkProcess is the runner's side of ServeBulk.
type bulkProcess struct {
	in  *json.Decoder
	out *json.Encoder
}

// open opens the connections of an order, and returns the priority of the process. dc
// does not accept meanwhile.
func (b *bulkProcess) open(ctx context.Context, dc *DataCenter, o order) (priority string, err error) {
	if err := dc.gate.shut(); err != nil {
		return "", err
	}
	if err := dc.gate.awaitShut(ctx); err != nil {
		return "", err
	}
	var answer opened
	err = b.exchange(o, &answer)
	if err == nil && answer.Error != "" {
		err = errors.New(answer.Error)
	}
	return answer.Priority, errors.Join(err, dc.gate.open(ctx))
}

// run makes the load of the order, and returns how many packets were moved.
func (b *bulkProcess) run() (int64, error) {
	var answer moved
	err := b.exchange(start{}, &answer)
	if err == nil && answer.Error != "" {
		err = errors.New(answer.Error)
	}
	return answer.Packets, err
}

// exchange writes a value and reads the answer.
func (b *bulkProcess) exchange(value, answer any) error {
	err := b.out.Encode(value)
	if err == nil {
		err = b.in.Decode(answer)
	}
	if err != nil {
		return fmt.Errorf("process of the downloads and uploads: %w", err)
	}
	return nil
}
