package upgrade

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mtwire/mtwire/proxy"
)

// Timeouts limit how long the old process waits for the new one. They are variables for
// tests, which set them before any other call.
var Timeouts = struct {
	Check time.Duration // of the configuration
	Start time.Duration // until it can serve
	Step  time.Duration // for each step after that
	Move  time.Duration // for all sessions that move bytes, or are in their handshake
}{30 * time.Second, time.Minute, 10 * time.Second, 10 * time.Second}

// Step, if it is not nil, is called before each step of either process, with its name. It
// is for tests that end a process there, and set before any other call.
var Step func(name string)

func step(name string) {
	if Step != nil {
		Step(name)
	}
}

// Listener is a listener that goes to the new process, with its address in the
// configuration, or the one that it has if it is Inherited.
type Listener struct {
	Use     Use
	Address string
	net.Listener
}

// Handover is the old process's side of an upgrade, which Start begins. Its methods are for
// one goroutine. After an error of one the new process has ended, and all that was not
// given up before is the old one's.
type Handover struct {
	conn        *net.UnixConn
	process     *exec.Cmd     // nil if Accept began it
	ended       chan struct{} // closed when the new process has ended
	pid         int           // of the new process, 0 if it has none here
	program     string        // the version of the new program
	version     uint16        // of the protocol
	isDone      bool
	allowed     time.Duration // for the present step
	until       time.Time     // when that is over
	interrupted atomic.Bool   // the upgrade is to end before the new process is ready
	batch       uint32
	most        int // sessions of a batch
	buf         [maxMessage]byte

	// Of Move: the next batch has the memory of the one before.
	suspender *proxy.Suspender // nil before the first
	next      batch
	encoded   []byte
	message   []byte
}

// Start starts a process that takes over, passes the listeners to it, and returns when it
// can serve. Before, it must not: both would accept connections, and its limits do not
// know the sessions of this one.
func Start(ctx context.Context, command Command, listeners []Listener) (*Handover, error) {
	conn, other, err := socketPair()
	if err != nil {
		return nil, err
	}
	cmd := &exec.Cmd{
		Path: command.Path, Args: command.Args,
		Env:   append(environmentWithout("WATCHDOG_PID"), fmt.Sprintf("%s=%d", Variable, childSocket)),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		ExtraFiles: []*os.File{other},
	}
	tellSenders(conn)
	err = startMasked(cmd)
	other.Close()
	if err != nil {
		conn.Close()
		return nil, err
	}
	h := &Handover{conn: conn, process: cmd, pid: cmd.Process.Pid, ended: make(chan struct{}), most: usualBatch}
	go func() {
		cmd.Wait()
		close(h.ended)
	}()
	step("old started")
	if err := h.greet(ctx, listeners); err != nil {
		h.Abort()
		return nil, err
	}
	return h, nil
}

// greet agrees on a version, passes the listeners, and waits for the new process.
func (h *Handover) greet(ctx context.Context, listeners []Listener) error {
	h.limit(Timeouts.Start)
	defer context.AfterFunc(ctx, func() {
		h.interrupted.Store(true)
		h.conn.SetDeadline(longAgo)
	})()
	if err := send(h.conn, appendHello(nil, lowestVersion, HighestVersion), nil); err != nil {
		return h.failed(err)
	}
	if err := h.checkSender(); err != nil {
		return err
	}
	message, err := h.expect(versionMessage)
	if err != nil {
		return err
	}
	if h.version, h.program, err = parseVersion(message); err != nil {
		return err
	}
	step("old has the version")
	for len(listeners) > 0 {
		some := listeners[:min(len(listeners), maxListeners)]
		listeners = listeners[len(some):]
		if err := h.sendListeners(some); err != nil {
			return h.failed(err)
		}
	}
	if err := send(h.conn, []byte{byte(listenedMessage)}, nil); err != nil {
		return h.failed(err)
	}
	step("old has sent listeners")
	_, err = h.expect(readyMessage)
	step("old has ready")
	return err
}

var errOtherProcess = errors.New("it starts another process, which would go on when the upgrade fails and this one is ended: a script must start the program with exec")

// checkSender returns a *ProgramError if another process than the one that Start has started
// sends the first message. Abort could not end it, and it would take the end of the socket for
// that of this process. So it is told the end.
func (h *Handover) checkSender() error {
	if h.process == nil {
		return nil
	}
	pid, err := senderOf(h.conn)
	for h.again(err) {
		pid, err = senderOf(h.conn)
	}
	if err != nil {
		return h.failed(err)
	}
	if pid == 0 || pid == h.pid { // 0: the system does not tell
		return nil
	}
	send(h.conn, []byte{byte(abortMessage)}, nil)
	return &ProgramError{h.process.Path, errOtherProcess}
}

func (h *Handover) sendListeners(listeners []Listener) error {
	var fds []int
	defer func() { closeFDs(fds) }()
	for _, l := range listeners {
		fd, err := duplicate(l.Listener)
		if err != nil {
			return fmt.Errorf("%s: %w", l.Address, err)
		}
		fds = append(fds, fd)
	}
	message, err := appendListeners(nil, listeners)
	if err != nil {
		return err
	}
	return send(h.conn, message, fds)
}

// limit begins a step that takes that long at most.
func (h *Handover) limit(allowed time.Duration) {
	h.allowed, h.until = allowed, time.Now().Add(allowed)
	h.conn.SetDeadline(h.until)
	if h.interrupted.Load() {
		h.conn.SetDeadline(longAgo)
	}
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// stopTime is how late this process notices the end of a step's time if it did not run itself: it,
// or its whole container, was stopped. The new process, with all sessions that have moved, is not to
// be killed for that, and its answer may be there.
const stopTime = time.Second

// again reports whether a read has ended with err because this process was stopped. The time of the
// step has begun anew then.
func (h *Handover) again(err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(h.until) < stopTime {
		return false
	}
	h.limit(h.allowed)
	return true
}

// expect receives a message of a kind, and returns it. If this process was stopped meanwhile, the
// time of the step begins anew.
func (h *Handover) expect(k kind) ([]byte, error) {
	message, fds, err := receive(h.conn, h.buf[:], 1)
	closeFDs(fds) // there should be none
	for h.again(err) {
		message, fds, err = receive(h.conn, h.buf[:], 1)
		closeFDs(fds)
	}
	switch {
	case err != nil:
		return nil, h.failed(err)
	case kind(message[0]) == refuseMessage:
		return nil, &RefusedError{string(message[1:min(len(message), 1+maxText)])}
	case kind(message[0]) != k:
		return nil, ErrMessage
	}
	return message, nil
}

// failed explains an error of the socket.
func (h *Handover) failed(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("the new process does not answer in time")
	case isEnd(err):
		return errors.New("the new process has ended")
	}
	return err
}

// PID returns the number of the new process, 0 if it has none here.
func (h *Handover) PID() int { return h.pid }

// Terminate asks the new process to end, as a service manager does.
func (h *Handover) Terminate() {
	if h.process != nil {
		h.process.Process.Signal(syscall.SIGTERM)
	}
}

// Version returns the version of the new program, "" if it has not told.
func (h *Handover) Version() string { return h.program }

// Move moves a batch of p's sessions, those first that move nothing. It returns how many
// have moved, how many others move nothing, and how many in all are left that can move,
// now or later.
func (h *Handover) Move(p *proxy.Proxy) (moved, idle, left int, err error) {
	if h.suspender == nil {
		h.suspender = p.Suspender()
	}
	suspended, idle, left := h.suspender.Suspend(h.most)
	b := h.newBatch(suspended)
	defer b.close()
	left += len(suspended) - len(b.sessions)
	if len(b.sessions) == 0 {
		return 0, idle, left, nil
	}
	answers, err := h.offer(b)
	if err != nil {
		h.Abort() // before the sessions go on here
		b.resume()
		return 0, idle, left, err
	}
	step("old has held")
	held := make([]bool, len(b.sessions))
	for i, s := range b.sessions {
		switch answers[i] {
		case isHeld:
			if held[i] = s.Release(); held[i] {
				moved++
			}
		case notAdmitted:
			s.Close()
		case tooMany:
			h.most = max(1, len(b.sessions)/2)
			if len(b.sessions) > 1 {
				s.Resume()
			} else {
				s.Keep()
			}
		default:
			s.Keep()
		}
	}
	h.limit(Timeouts.Step)
	if err := send(h.conn, appendCommitment(nil, h.batch, held), nil); err != nil {
		h.Abort()
		b.reclaim(p, held)
		return 0, idle, left, h.failed(err)
	}
	step("old has committed")
	return moved, idle, left, nil
}

// offer sends a batch, and returns the new process's answers about the sessions.
func (h *Handover) offer(b *batch) (answers []byte, err error) {
	h.batch++
	h.limit(Timeouts.Step)
	h.message = appendSessions(h.message[:0], h.batch, b.states)
	if err := send(h.conn, h.message, b.fds); err != nil {
		return nil, h.failed(err)
	}
	step("old has offered")
	message, err := h.expect(heldMessage)
	if err != nil {
		return nil, err
	}
	answers, err = parseAnswers(message, h.batch, len(b.sessions))
	return slices.Clone(answers), err
}

// batch is sessions that are offered, with descriptors of their own.
type batch struct {
	sessions []*proxy.Suspended
	states   [][]byte
	fds      []int // two of each
}

// newBatch returns a batch of those sessions for which there are descriptors. The others go
// on here, and the next batch is smaller. What cannot be encoded stays here.
func (h *Handover) newBatch(suspended []*proxy.Suspended) *batch {
	b, length := &h.next, 0
	*b = batch{b.sessions[:0], b.states[:0], b.fds[:0]}
	kept := 0
	h.encoded = h.encoded[:0]
	for _, s := range suspended {
		start := len(h.encoded)
		encoded, err := AppendSession(h.encoded, s.State())
		if err != nil { // as it will be every time
			s.Keep()
			kept++
			continue
		}
		h.encoded = encoded
		state := encoded[start:]
		if !b.add(s, state, maxMessage-16-length) {
			s.Resume()
			continue
		}
		length += 2 + len(state)
	}
	if len(b.sessions)+kept < len(suspended) {
		h.most = max(1, len(b.sessions)/2)
	} else {
		h.most = min(usualBatch, 2*h.most)
	}
	return b
}

// add adds a session if its state has room.
func (b *batch) add(s *proxy.Suspended, state []byte, room int) bool {
	if 2+len(state) > room {
		return false
	}
	client, upstream := s.Sockets()
	first, err := duplicate(client)
	if err != nil {
		return false
	}
	second, err := duplicate(upstream)
	if err != nil {
		closeFDs([]int{first})
		return false
	}
	b.sessions, b.states, b.fds = append(b.sessions, s), append(b.states, state), append(b.fds, first, second)
	return true
}

func (b *batch) close() {
	closeFDs(b.fds)
	b.fds = b.fds[:0]
}

// resume has all sessions go on here.
func (b *batch) resume() {
	for _, s := range b.sessions {
		s.Resume()
	}
}

// reclaim has sessions that were given up go on here: the new process has ended before it
// knew.
func (b *batch) reclaim(p *proxy.Proxy, chosen []bool) {
	fds := b.fds
	b.fds = nil // which are the sessions'
	for i, c := range chosen {
		if !c {
			closeFDs(fds[2*i : 2*i+2])
			continue
		}
		if held, _ := hold(p, b.sessions[i].State(), fds[2*i], fds[2*i+1]); held != nil {
			held.Start()
		}
	}
}

// Settle tells the new process that this one accepts no more connections, and returns when
// that one does. The new process does not have the users unknown of this one, by the state
// that it was sent.
func (h *Handover) Settle() (unknown []string, err error) {
	step("old settles")
	message, err := h.confirm(settledMessage, servingMessage)
	step("old has settled")
	if err == nil {
		if unknown, err = parseServing(message); err != nil {
			h.Abort()
		}
	}
	return unknown, err
}

// confirm sends a message that is its kind alone, and expects one in return.
func (h *Handover) confirm(k, answer kind) (message []byte, err error) {
	h.limit(Timeouts.Step)
	if err = send(h.conn, []byte{byte(k)}, nil); err == nil {
		message, err = h.expect(answer)
	}
	if err != nil {
		h.Abort()
		return nil, h.failed(err)
	}
	return message, nil
}

// Done ends the upgrade: the new process is on its own. SendState may follow, until Close.
func (h *Handover) Done() error {
	step("old is done")
	_, err := h.confirm(doneMessage, doneMessage)
	h.suspender, h.next, h.encoded, h.message = nil, batch{}, nil, nil
	if h.isDone = err == nil; h.isDone && !h.HasState() {
		h.conn.Close()
	}
	return err
}

// Duplicate returns another listener on the socket of ln, which stays when ln is closed.
func Duplicate(ln net.Listener) (net.Listener, error) {
	fd, err := duplicate(ln)
	if err != nil {
		return nil, err
	}
	return listenerOf(fd)
}

// Abort ends the new process, and returns when it has ended: it owns nothing any more. The
// socket is closed after that, so that the new process, if it sees the end of the socket,
// knows that this one has ended. A process that was not started here is told to end: it moves
// no byte before it has heard that, or the end of the socket.
func (h *Handover) Abort() {
	if h.process == nil {
		h.conn.SetDeadline(time.Now().Add(Timeouts.Step))
		err := send(h.conn, []byte{byte(abortMessage)}, nil)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			h.conn.Close()
			return
		}
		h.conn.SetDeadline(time.Time{})
		go func() { // it hangs, with as much as it may have; the end alone would have it serve
			send(h.conn, []byte{byte(abortMessage)}, nil)
			h.conn.Close()
		}()
		return
	}
	h.process.Process.Kill()
	<-h.ended
	h.conn.Close()
}
