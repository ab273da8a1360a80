package loadgen

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// ChatLoad is what messengers do most of the time: small messages on many
// connections, each of which is idle in between. The zero value of a field is its
// default.
type ChatLoad struct {
	// Connections is the number of connections. 0 is 2000.
	Connections int
	// Size is the length of an echo, in bytes; see CheckPacketSize. 0 is 200.
	Size int
	// Interval is the time from one echo of a connection to its next. 0 is 2
	// seconds. The echoes of all connections are spread evenly over it.
	Interval time.Duration
}

func (l *ChatLoad) setDefaults() {
	setDefault(&l.Connections, 2000)
	setDefault(&l.Size, 200)
	setDefault(&l.Interval, 2*time.Second)
}

func (l *ChatLoad) check() error {
	if l.Connections < 0 || l.Interval < 0 || l.step() == 0 {
		return fmt.Errorf("chat of %d connections with an echo every %v", l.Connections, l.Interval)
	}
	if err := CheckPacketSize(l.Size); err != nil {
		return fmt.Errorf("chat: %w", err)
	}
	return nil
}

// step returns the time from one echo of any connection to the next of any.
func (l *ChatLoad) step() time.Duration { return l.Interval / time.Duration(l.Connections) }

// chat measures the chat load, alone or beside downloads or uploads.
func (r *runner) chat(ctx context.Context, phase Phase) error {
	if err := r.startChats(ctx); err != nil {
		return err
	}
	return r.takeTurns(phase, func(side int) (turn, error) {
		if phase == PhaseChat {
			return measure(r.targets()[side], func(start time.Time) (turn, error) {
				return r.chats[side].until(start.Add(r.turnLength()), r.Timeout)
			})
		}
		return r.beside(ctx, phase, r.targets()[side], r.chats[side])
	})
}

// startChats opens the connections of all sides, unless a phase before has. Those of
// one side idle while the other has its turn.
func (r *runner) startChats(ctx context.Context) error {
	if r.chats != nil {
		return nil
	}
	for _, t := range r.targets() {
		clients, err := r.openWithin(ctx, t, r.Chat.Connections, 0)
		if err != nil {
			return fmt.Errorf("through %s: %w", r.name(t), r.explain(err))
		}
		r.chats = append(r.chats, startChat(ctx, &r.Chat, clients))
	}
	if r.Hurry {
		r.report.Settings.Chat.Priority, r.restore = raisePriority()
	}
	select {
	case <-time.After(r.Settle):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stopChats closes the connections of startChats.
func (r *runner) stopChats(ctx context.Context) {
	if r.restore != nil {
		r.restore()
		r.restore = nil
	}
	if r.chats == nil {
		return
	}
	others := r.DataCenter.Open()
	for _, c := range r.chats {
		c.stop()
		others -= int64(len(c.connections))
	}
	r.chats = nil
	r.awaitClosed(ctx, others)
}

// beside measures one turn of a chat with downloads or uploads beside it.
func (r *runner) beside(ctx context.Context, phase Phase, t *Target, c *chat) (turn, error) {
	ctx, cancel := context.WithTimeout(ctx, r.turnLength()+r.bulkTimeout())
	defer cancel()
	run, done, err := r.openBulk(ctx, phase, t)
	if err != nil {
		return turn{}, err
	}
	defer done()
	return measure(t, func(start time.Time) (turn, error) {
		end := start.Add(r.turnLength())
		var packets int64
		var failed error
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			packets, failed = run(end)
		}()
		result, err := c.until(end, r.Timeout)
		if err != nil {
			cancel()
		}
		<-ended
		result.beside = packets
		if err == nil {
			err = failed
		}
		return result, err
	})
}

// openBulk opens the connections of the downloads or uploads beside a chat. run moves
// packets on them until end, or ctx ends, and returns their number. done closes them.
func (r *runner) openBulk(ctx context.Context, phase Phase, t *Target) (run func(end time.Time) (packets int64, err error), done func(), err error) {
	if r.Bulk != nil && t.WEB == nil { // which an order does not have
		return r.orderBulk(ctx, phase, t)
	}
	clients, err := r.open(ctx, t, r.Connections, r.Chat.Connections, r.PacketSize)
	if err != nil {
		return nil, nil, err
	}
	background := PhaseDownload
	if phase == PhaseChatUpload {
		background = PhaseUpload
	}
	return func(end time.Time) (int64, error) {
		moved, err := r.work(ctx, background, t, clients, end)
		return moved.count, err
	}, func() { closeAll(clients) }, nil
}

// bulkTimeout is Timeout for downloads and uploads beside a chat. The process of Plan.Bulk runs
// behind all others: on a busy machine it takes several times as long.
func (r *runner) bulkTimeout() time.Duration {
	if r.Bulk == nil {
		return r.Timeout
	}
	return 6 * r.Timeout
}

// orderBulk is openBulk in the process of Plan.Bulk, which closes the connections
// itself.
func (r *runner) orderBulk(ctx context.Context, phase Phase, t *Target) (run func(end time.Time) (packets int64, err error), done func(), err error) {
	b := &bulkProcess{json.NewDecoder(r.Bulk), json.NewEncoder(r.Bulk)}
	r.report.Settings.Chat.BulkPriority, err = b.open(ctx, r.DataCenter, order{
		Endpoint: t.Endpoint.String(), Upload: phase == PhaseChatUpload, Connections: r.Connections,
		First: r.Chat.Connections, PacketSize: r.PacketSize, Length: r.turnLength(), Timeout: r.bulkTimeout(),
	})
	return func(time.Time) (int64, error) { return b.run() }, func() {}, err
}

// chat is the chat load on one side. A goroutine for each connection waits for the
// answers; the one that calls until sends.
type chat struct {
	load        *ChatLoad
	connections []chatConn
	next        int // index of the connection that sends next

	ctx       context.Context // ends when a connection fails, with its error as the cause
	cancel    context.CancelCauseFunc
	receiving sync.WaitGroup

	unanswered atomic.Int64
	mu         sync.Mutex
	latency    []time.Duration // of the echoes of this turn
}

// chatConn is one connection of a chat. While an echo is awaited, the receiving
// goroutine owns the client's probe and sent, and otherwise the sending one.
type chatConn struct {
	client  *Client
	awaited atomic.Bool
	sent    time.Time
}

// startChat starts to receive on the clients, which the chat owns from then on.
func startChat(ctx context.Context, load *ChatLoad, clients []*Client) *chat {
	c := &chat{load: load, connections: make([]chatConn, len(clients))}
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	for i, client := range clients {
		conn := &c.connections[i]
		conn.client = client
		c.receiving.Go(func() {
			if err := c.receive(conn); err != nil {
				c.cancel(fmt.Errorf("connection %d of %d: %w", i+1, len(clients), err))
			}
		})
	}
	return c
}

// stop closes the connections.
func (c *chat) stop() {
	c.cancel(context.Canceled)
	c.receiving.Wait()
	for i := range c.connections {
		c.connections[i].client.Close()
	}
}

var errUnexpected = errors.New("an answer that was not asked for")

// receive receives the echoes of a connection until it fails.
func (c *chat) receive(conn *chatConn) error {
	for {
		p, err := conn.client.conn.Receive(c.ctx)
		if err != nil {
			return err
		}
		now := time.Now()
		if !conn.awaited.Load() {
			return errUnexpected
		}
		if err := conn.client.checkEcho(p.Payload); err != nil {
			return err
		}
		c.mu.Lock()
		c.latency = append(c.latency, now.Sub(conn.sent))
		c.mu.Unlock()
		conn.awaited.Store(false)
		c.unanswered.Add(-1)
	}
}

// until sends echoes until end, and waits for the last answers. A connection whose
// last echo is unanswered when the next one is due misses that one.
func (c *chat) until(end time.Time, timeout time.Duration) (result turn, err error) {
	err = at(c.ctx, c.load.step(), end, func() error {
		conn := &c.connections[c.next]
		c.next = (c.next + 1) % len(c.connections)
		if conn.awaited.Load() {
			result.missed++
			return nil
		}
		conn.client.prepareEcho(c.load.Size)
		probe := conn.client.probe
		c.unanswered.Add(1)
		conn.sent = time.Now()
		conn.awaited.Store(true)
		return conn.client.conn.Send(c.ctx, probe)
	})
	if err == nil {
		err = c.awaitAnswers(timeout)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	result.latency, c.latency = c.latency, nil
	result.count = int64(len(result.latency))
	return result, err
}

// awaitAnswers waits until every echo is answered.
func (c *chat) awaitAnswers(timeout time.Duration) error {
	expired := time.After(timeout)
	for c.unanswered.Load() > 0 {
		select {
		case <-time.After(time.Millisecond):
		case <-expired:
			return fmt.Errorf("%d echoes: %w", c.unanswered.Load(), context.DeadlineExceeded)
		case <-c.ctx.Done():
			return context.Cause(c.ctx)
		}
	}
	return nil
}
