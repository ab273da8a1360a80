package proxy

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/admission"
	"github.com/mtwire/mtwire/internal/handshake"
	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/route"
	"github.com/mtwire/mtwire/internal/splice"
	"github.com/mtwire/mtwire/obfuscation"
)

// Until the first byte of the download, a session keeps what its client has sent.
// If the connection to the data centre ends by then, or is not answered, the client
// is moved on to the next address or upstream, which receives the same bytes, and
// the client notices nothing. What the data centre had received all the same comes
// again under the same message ids, as when a client connects anew.

const (
	// answerLimit is how long a data centre may take to answer the first packet
	// before the client is moved on, if there is another address in good health.
	// Clients give up after four seconds (Telegram Desktop) or more.
	answerLimit = 3 * time.Second

	// earlyEnd is the age up to which the end of a connection is a failure although
	// nothing was asked. Data centres close idle connections later.
	earlyEnd = 10 * time.Second

	// maxMoves is how often a client is moved on. A client that several data
	// centres reject is at fault itself.
	maxMoves = 3

	// maxKept and maxKeptTotal limit the bytes that are kept for a session, and for
	// all of them. A session above the limit is not moved on. The buffers of a
	// socket have room for what is kept, so sending it again does not block.
	maxKept      = 32 << 10
	maxKeptTotal = 16 << 20
)

var (
	errEndedUnanswered = errors.New("the connection to the data centre ended before its first byte")
	errSilent          = errors.New("the data centre does not answer")
	errNotMTProto      = errors.New("the answer is no packet: the upstream may have another secret")
	errNotKept         = errors.New("the client cannot be moved on")
)

// trial is the state of a session before the first byte of its download.
type trial struct {
	session *session
	client  *handshake.Result
	first   []byte // what the client has sent with its handshake, decrypted

	// A method that holds mu calls no method of session. The lock of a session may
	// be held already.
	mu       sync.Mutex
	upstream *route.Upstream
	since    time.Time          // when upstream was connected
	begun    int64              // when the first one was; see dataCenters.now
	kept     []byte             // the upload from its beginning, decrypted
	lost     bool               // kept is not all of it
	asked    bool               // a whole packet was sent, or more than is kept
	askedAt  time.Time          // when
	moves    int                // so far
	ended    []*route.Upstream  // earlier ones, whose connections have ended
	pair     *splice.Pair       // nil until it is started
	timer    *time.Timer        // of the answer
	cancel   context.CancelFunc // of a dial beside a connection that is silent
	next     *route.Upstream    // the result of that dial
	over     bool               // the first byte has come, or the session has ended
}

// begin sends the init payload and the first bytes of the upload to upstream, and
// hands the session over to its pair. It is moved on if that fails.
func (s *session) begin(ctx context.Context, client *handshake.Result, upstream *route.Upstream) error {
	t := &trial{session: s, client: client, first: client.Buffered}
	client.Buffered = nil
	s.trial.Store(t)
	s.dataCenter = s.proxy.dataCenters.of(s.dc)
	s.up = reencrypter{records: client.Records, receive: client.Upload.Cursor(obfuscation.InitLength), watch: s.keep}
	s.up.receive.XORKeyStream(t.first, t.first)
	t.keep(t.first)
	return t.open(ctx, upstream)
}

// open connects the session to upstream or, if that fails at once, to the next.
func (t *trial) open(ctx context.Context, upstream *route.Upstream) error {
	s := t.session
	for {
		t.attach(upstream)
		err := t.sendInit(ctx, upstream.Stream)
		if err == nil {
			return s.relay(t, upstream.Stream)
		}
		if ctx.Err() != nil {
			return err
		}
		var left error
		if upstream, left = t.moveOn(ctx, err); left != nil {
			return err
		}
	}
}

// attach makes upstream the session's.
func (t *trial) attach(upstream *route.Upstream) {
	s := t.session
	t.mu.Lock()
	t.upstream, t.since, t.pair, t.timer = upstream, time.Now(), nil, nil
	t.mu.Unlock()
	conn := upstream.Stream.Conn
	if upstream.Stream.FakeTLS {
		conn = faketls.NewConn(conn, frame.Client)
	}
	s.sent.add(upstream)
	netx.SetLiveness(conn, netx.Liveness{UserTimeout: s.proxy.settings().liveness.UserTimeout})
	s.mu.Lock()
	s.upstream.Via, s.upstream.Address, s.upstream.conn = upstream.Via, upstream.Address, conn
	s.mu.Unlock()
	s.dialled = s.proxy.dataCenters.now()
	if t.begun == 0 {
		t.begun = s.dialled
	}
	s.stage.CompareAndSwap(uint32(Authenticated), uint32(Dialled))
	s.proxy.trace.dialled(s)
}

// sendInit sends the init payload upstream, and with it what the client has sent
// already.
func (t *trial) sendInit(ctx context.Context, stream *route.Stream) error {
	s := t.session
	upload := t.upload()
	first := append(stream.Init, upload...)
	if len(upload) > 0 {
		s.armStall()
	}
	s.up.send = stream.Send
	s.up.send.XORKeyStream(first[len(stream.Init):], upload)
	if err := netx.Write(ctx, s.upstream.conn, first, time.Time{}); err != nil {
		return err
	}
	t.first = nil
	s.mu.Lock()
	sent := int64(len(upload)) - s.early
	s.early += sent
	s.mu.Unlock()
	if sent > 0 {
		s.uploaded(int(sent))
		s.unpaced.Add(sent)
	}
	return nil
}

// upload returns the upload from its beginning.
func (t *trial) upload() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lost || t.over {
		return t.first
	}
	return t.kept
}

// keep is trial.keep, as a reencrypter's watch.
func (s *session) keep(clear []byte) (more bool, err error) {
	if t := s.trial.Load(); t != nil {
		return t.keep(clear), nil
	}
	return false, nil
}

// keep keeps the next bytes of the upload, and reports whether it is to get more.
func (t *trial) keep(clear []byte) (more bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over || t.lost {
		return false
	}
	if len(clear) > maxKept-len(t.kept) || !t.session.proxy.reserveKept(len(clear)) {
		t.release()
		t.lost = true
		t.ask()
		return false
	}
	t.kept = append(t.kept, clear...)
	if !t.asked && len(t.kept) > 0 {
		decoder := frame.Decoder{Protocol: t.session.protocol, From: frame.Client}
		_, _, err := decoder.Parse(t.kept)
		switch {
		case err == nil:
			t.ask()
			t.arm()
		case !errors.Is(err, frame.ErrIncomplete):
			t.finish() // every data centre rejects it
			return false
		}
	}
	return true
}

// ask notes that the data centre has something to answer. Under mu.
func (t *trial) ask() {
	if !t.asked {
		t.asked, t.askedAt = true, time.Now()
	}
}

// waited returns how long the client has waited for an answer, 0 if it has not asked.
// Under mu.
func (t *trial) waited() time.Duration {
	if !t.asked {
		return 0
	}
	return time.Since(t.askedAt)
}

// reserveKept reports whether n more bytes may be kept.
func (p *Proxy) reserveKept(n int) bool {
	if p.kept.Add(int64(n)) <= maxKeptTotal {
		return true
	}
	p.kept.Add(-int64(n))
	return false
}

// release drops the bytes that are kept. Under mu.
func (t *trial) release() {
	t.session.proxy.kept.Add(-int64(len(t.kept)))
	t.kept = nil
}

// finish ends the trial. Under mu.
func (t *trial) finish() {
	t.over = true
	t.release()
	if t.timer != nil {
		t.timer.Stop()
	}
	if t.cancel != nil {
		t.cancel()
	}
}

// arm starts the timer of the answer, once a packet was sent, if the client can be
// moved on. Under mu.
func (t *trial) arm() {
	if t.asked && !t.lost && !t.over && t.pair != nil && t.timer == nil && t.moves < maxMoves && t.upstream.HasNext() {
		t.timer = time.AfterFunc(answerLimit, t.expire)
	}
}

// expire is called by the timer. It dials the next upstream while the present one
// may still answer.
func (t *trial) expire() {
	s := t.session
	t.mu.Lock()
	if t.over || t.lost || t.timer == nil {
		t.mu.Unlock()
		return
	}
	silent := t.upstream
	ctx, cancel := context.WithCancel(context.Background())
	t.cancel = cancel
	s.proxy.ending.Add(1) // the session has not ended
	t.mu.Unlock()
	defer s.proxy.ending.Done()
	defer cancel()
	silent.Unanswered()
	s.proxy.trace.unanswered(s, errSilent)
	next, err := silent.Next(ctx)
	if err == nil {
		next, err = onlyStream(next)
	}
	if err != nil {
		return // the first one may still answer
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over || t.lost || t.upstream != silent || t.pair == nil {
		next.Close()
		return
	}
	t.next = next
	t.pair.Abort(errSilent)
}

// answered is called with the first byte of the download, before it is sent on.
func (s *session) answered() {
	t := s.trial.Load()
	if t == nil {
		return
	}
	t.mu.Lock()
	if t.over || t.next != nil { // too late: the client cannot receive it any more
		t.mu.Unlock()
		return
	}
	answer := Answer{DC: s.dc, Upstream: t.upstream.Via, Waited: t.waited()}
	t.finish()
	t.mu.Unlock()
	s.trial.Store(nil)
	s.sent.remove()
	s.proxy.trace.answered(s, answer)
	t.upstream.Answered()
	for _, upstream := range t.ended { // not the client's fault, as is known now
		upstream.Unanswered()
	}
}

// failing reports whether the end of the connection is a failure. Under mu.
func (t *trial) failing() bool {
	return !t.over && (t.asked || time.Since(t.since) < earlyEnd)
}

// noBytes is a splice.Flow's NoBytes.
func (s *session) noBytes() error {
	t := s.trial.Load()
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failing() {
		return errEndedUnanswered
	}
	return nil
}

// relayed is called when the session's pair has ended.
func (s *session) relayed(up, down splice.Result) {
	s.proxy.counters.relaying.Add(-1)
	if t := s.trial.Load(); t == nil || !t.resume(errors.Join(up.Err, down.Err)) {
		s.end(up, down)
	}
}

// resume moves the client on after the end of its pair, and reports whether it
// could.
func (t *trial) resume(cause error) bool {
	s := t.session
	if !t.due() {
		return false
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s.mu.Lock()
	if s.closed != nil {
		s.mu.Unlock()
		return false
	}
	up, _ := s.pair.Moved()
	s.early += up
	s.pair, s.cancel = nil, cancel
	s.mu.Unlock()
	upstream, err := t.moveOn(ctx, cause)
	if err != nil {
		return false
	}
	t.client.Conn.SetDeadline(time.Time{}) // that of the pair's end
	return t.open(ctx, upstream) == nil
}

// due reports whether the pair has ended because of its upstream, and the client
// may be moved on. An upstream whose client cannot be is reported at once.
func (t *trial) due() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	broken := t.pair.Failed()
	if t.next == nil && (broken == nil || broken == t.client.Conn || !t.failing()) {
		return false
	}
	if t.lost {
		t.upstream.Unanswered()
	}
	return !t.lost
}

// moveOn closes the session's upstream, whose connection has ended with cause, and
// dials the next one.
func (t *trial) moveOn(ctx context.Context, cause error) (*route.Upstream, error) {
	s := t.session
	s.upstream.conn.Close()
	t.mu.Lock()
	if t.over || t.lost || t.moves == maxMoves {
		t.mu.Unlock()
		return nil, errNotKept
	}
	t.moves++
	before, next := t.upstream, t.next
	t.next = nil
	if next == nil {
		t.ended = append(t.ended, before)
	}
	t.mu.Unlock()
	if next != nil {
		s.proxy.counters.moved.Add(1)
		return next, nil
	}
	if !before.LeadsBack() { // which has a warning of its own
		s.proxy.trace.unanswered(s, cause)
	}
	next, err := before.Next(ctx)
	if err != nil {
		next, err = admission.Redial(ctx, &s.proxy.shortage, err, before.Next)
	}
	if err != nil {
		if ctx.Err() == nil && !before.LeadsBack() {
			s.proxy.dataCenters.unanswered(s.dc, t.begun, err)
		}
		return nil, err
	}
	s.proxy.counters.moved.Add(1)
	return onlyStream(next)
}

// endTrial is called at the end of the session.
func (s *session) endTrial() {
	t := s.trial.Swap(nil)
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.finish()
	if t.next != nil {
		t.next.Close()
	}
}

// checkAnswer is a reencrypter's watch for the download of an upstream whose keys
// may be others: the first bytes must be packets. Other bytes pass for the beginning
// of a packet with a probability of 1 in 128, in abridged 1 in 2.
func (s *session) checkAnswer(clear []byte) (more bool, err error) {
	decoder := frame.Decoder{Protocol: s.protocol, From: frame.Server}
	for len(clear) > 0 {
		p, n, err := decoder.Parse(clear)
		if errors.Is(err, frame.ErrIncomplete) {
			break
		}
		if err != nil || p.Kind == frame.KindQuickAck && !s.wantsAck() {
			return false, errNotMTProto
		}
		clear = clear[n:]
	}
	return false, nil
}

// wantsAck reports whether the client has requested a quick acknowledgement, or may
// have.
func (s *session) wantsAck() bool {
	t := s.trial.Load()
	if t == nil {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	decoder := frame.Decoder{Protocol: s.protocol, From: frame.Client}
	for rest := t.kept; len(rest) > 0; {
		p, n, err := decoder.Parse(rest)
		if err != nil {
			break
		}
		if p.AckWanted {
			return true
		}
		rest = rest[n:]
	}
	return t.over || t.lost
}
