package upgrade

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"github.com/mtwire/mtwire/proxy"
)

// ErrInterrupted means that this process is to end before it has taken anything over: the old one
// goes on.
var ErrInterrupted = errors.New("this process ends before it has taken over")

// Takeover is the new process's side of an upgrade. Its methods are for one goroutine. A
// nil Takeover has no listeners.
type Takeover struct {
	conn      *net.UnixConn
	version   uint16
	listeners []Listener
	addresses map[Use][]string // of all that the old process has sent
	foreign   bool             // FromSocket has made it
	sessions  sessionMemory
	buf       [maxMessage]byte
}

// IsStarted reports whether Start has started this process, and FromEnvironment was not called
// yet.
func IsStarted() bool { return os.Getenv(Variable) != "" }

// FromEnvironment returns the Takeover of a process that was started by Start, with the
// listeners of the old process, and nil in any other process. If the old process has ended
// already, there is nothing to take over. version is this program's.
func FromEnvironment(version string) (*Takeover, error) {
	parent := os.Getppid()
	conn, err := inheritedSocket()
	if conn == nil {
		return nil, err
	}
	t := &Takeover{conn: conn, addresses: make(map[Use][]string)}
	conn.SetDeadline(time.Now().Add(Timeouts.Start))
	err = t.greet(version)
	if err == nil {
		return t, nil
	}
	t.Refuse(err)
	if isEnd(err) {
		awaitEnd(parent)
		return nil, nil
	}
	return nil, err
}

// awaitEnd waits until the parent has ended, which closes its listeners one after the other,
// for two seconds at most: it may have ended before.
func awaitEnd(parent int) {
	for end := time.Now().Add(2 * time.Second); os.Getppid() == parent && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
}

// isEnd reports whether err is the end of the old process. It is not if this process has
// closed the socket: then the old one lives.
func isEnd(err error) bool {
	var op *net.OpError
	return errors.Is(err, io.EOF) || errors.As(err, &op) && !op.Timeout() && !errors.Is(err, net.ErrClosed)
}

// greet agrees on a version and receives the listeners.
func (t *Takeover) greet(program string) error {
	step("new started")
	message, fds, err := receive(t.conn, t.buf[:], 1)
	closeFDs(fds)
	if err != nil {
		return err
	}
	if kind(message[0]) == refuseMessage {
		return errors.New("the process before does not hand over: " + string(message[1:min(len(message), 1+maxText)]))
	}
	version, err := parseHello(message)
	if err != nil {
		return err
	}
	t.version = version
	if err := send(t.conn, appendVersion(nil, version, program), nil); err != nil {
		return err
	}
	step("new has the version")
	for {
		message, fds, err := receive(t.conn, t.buf[:], maxListeners)
		switch {
		case err != nil:
			return err
		case len(message) == 1 && kind(message[0]) == listenedMessage:
			closeFDs(fds)
			step("new has listeners")
			return nil
		}
		if err := t.receiveListeners(message, fds); err != nil {
			return err
		}
	}
}

func (t *Takeover) receiveListeners(message []byte, fds []int) error {
	listeners, err := parseListeners(message)
	if err != nil || len(listeners) != len(fds) {
		closeFDs(fds)
		return ErrMessage
	}
	for i := range listeners {
		if listeners[i].Listener, err = listenerOf(fds[i]); err != nil {
			closeFDs(fds[i+1:])
			return err
		}
		t.listeners = append(t.listeners, listeners[i])
		t.addresses[listeners[i].Use] = append(t.addresses[listeners[i].Use], listeners[i].Address)
	}
	return nil
}

// Listener returns the listener that the old process had at an address of its
// configuration, once, and nil if there is none.
func (t *Takeover) Listener(use Use, address string) net.Listener {
	if t == nil {
		return nil
	}
	i := slices.IndexFunc(t.listeners, func(l Listener) bool { return l.Use == use && l.Address == address })
	if i < 0 {
		return nil
	}
	ln := t.listeners[i].Listener
	t.listeners = slices.Delete(t.listeners, i, i+1)
	return ln
}

// Addresses returns the addresses of the old process's configuration for a use.
func (t *Takeover) Addresses(use Use) []string {
	if t == nil {
		return nil
	}
	return t.addresses[use]
}

// Inherited returns the listeners that the first process was started with.
func (t *Takeover) Inherited() (listeners []net.Listener) {
	if t == nil {
		return nil
	}
	t.listeners = slices.DeleteFunc(t.listeners, func(l Listener) bool {
		if l.Use == Inherited {
			listeners = append(listeners, l.Listener)
		}
		return l.Use == Inherited
	})
	return listeners
}

// UnixListeners returns the listeners on Unix sockets that were not asked for, which Run would
// close and leave their files behind.
func (t *Takeover) UnixListeners() (listeners []Listener) {
	t.listeners = slices.DeleteFunc(t.listeners, func(l Listener) bool {
		isUnix := l.Addr().Network() == "unix"
		if isUnix {
			listeners = append(listeners, l)
		}
		return isUnix
	})
	return listeners
}

func (t *Takeover) closeListeners() {
	for _, l := range t.listeners {
		l.Close()
	}
	t.listeners = nil
}

// Refuse tells the old process why this one does not take over, and ends the upgrade before
// Run: the old process goes on. It may be called on nil.
func (t *Takeover) Refuse(cause error) {
	if t == nil {
		return
	}
	text := "it has ended"
	if cause != nil {
		text = cause.Error()
	}
	send(t.conn, append([]byte{byte(refuseMessage)}, text[:min(len(text), maxText)]...), nil)
	t.closeListeners()
	t.conn.Close()
}

// Run tells the old process that this one can serve, and takes over its sessions. It calls
// settled once, when the old process accepts no more connections: this one is to. It
// returns when the old process is done, or has ended before. The old process ends the
// sessions of users that settled returns: this one does not have them. Listeners that were not asked
// for are closed. State besides sessions goes to state, element by element; Follow has what
// comes after that.
// The end of ctx ends the upgrade before it has begun to move sessions: the old process goes
// on, and the error is ErrInterrupted. After that, it makes no difference, so that no session is lost.
// If the error is ErrAborted, it goes on as well, and this process is to end. With ErrInterrupted
// settled was not called, and with ErrAborted it may not have been.
func (t *Takeover) Run(ctx context.Context, p *proxy.Proxy, settled func() (unknown []string), state func(part string, element []byte)) (sessions int, err error) {
	t.closeListeners()
	interrupt := context.AfterFunc(ctx, func() { t.conn.Close() })
	defer interrupt()
	t.conn.SetDeadline(time.Time{})
	called, begun := false, false
	settle := func() (unknown []string) {
		if !called {
			called = true
			unknown = settled()
		}
		return unknown
	}
	defer func() {
		if errors.Is(err, net.ErrClosed) { // by interrupt
			err = ErrInterrupted
		} else if err = t.ended(err); !errors.Is(err, ErrAborted) {
			settle()
		}
		if err != nil {
			t.conn.Close()
		}
	}()
	step("new is ready")
	if err := send(t.conn, []byte{byte(readyMessage)}, nil); err != nil {
		return 0, err
	}
	for {
		message, fds, err := receive(t.conn, t.buf[:], 2*maxBatch)
		if err != nil {
			return sessions, err
		}
		if !begun && !interrupt() { // the old process has begun, and this one is to end: it must hold nothing by then
			closeFDs(fds)
			return sessions, net.ErrClosed
		}
		begun = true
		switch kind(message[0]) {
		case sessionsMessage:
			n, err := t.takeBatch(p, message, fds)
			if sessions += n; err != nil {
				return sessions, err
			}
		case settledMessage:
			closeFDs(fds)
			step("new has settled")
			if err := send(t.conn, t.serving(settle()), nil); err != nil {
				return sessions, err
			}
		case stateMessage:
			closeFDs(fds)
			if err := takeState(message, state); err != nil {
				return sessions, err
			}
			step("new has state")
		case doneMessage:
			closeFDs(fds)
			t.sessions = sessionMemory{}
			return sessions, send(t.conn, []byte{byte(doneMessage)}, nil)
		case abortMessage:
			closeFDs(fds)
			return sessions, ErrAborted
		default:
			closeFDs(fds)
			return sessions, ErrMessage
		}
	}
}

// serving returns the servingMessage.
func (t *Takeover) serving(unknown []string) []byte {
	if !t.HasState() {
		unknown = nil
	}
	return appendServing(nil, unknown)
}

// takeBatch holds the sessions of a message until the old process has given them up, and
// starts them. If the old process ends meanwhile, it has given all of them up.
func (t *Takeover) takeBatch(p *proxy.Proxy, message []byte, fds []int) (sessions int, err error) {
	number, states, err := parseSessions(message, &t.sessions)
	if err != nil {
		closeFDs(fds)
		return 0, err
	}
	adopted, answers := make([]*proxy.Adopted, len(states)), make([]byte, len(states))
	switch {
	case len(fds) != 2*len(states): // this process may have no more of them
		closeFDs(fds)
		if t.HasState() {
			answers = bytes.Repeat([]byte{tooMany}, len(states))
		}
	default:
		for i, state := range states {
			if state == nil {
				closeFDs(fds[2*i : 2*i+2])
				continue
			}
			if adopted[i], answers[i] = hold(p, state, fds[2*i], fds[2*i+1]); !t.HasState() {
				answers[i] %= notAdmitted // to which it is not held
			}
		}
	}
	step("new holds")
	chosen := make([]bool, len(states)) // if the old process ends now
	for i, a := range adopted {
		chosen[i] = a != nil
	}
	err = send(t.conn, appendAnswers(nil, number, answers), nil)
	step("new has held")
	if err == nil {
		var none []int
		if message, none, err = receive(t.conn, t.buf[:], 1); err == nil {
			closeFDs(none)
			chosen, err = parseCommitment(message, number, len(states))
		}
	}
	step("new has the commitment")
	if err = t.ended(err); err != nil && !isEnd(err) { // the old process lives, and has broken the protocol
		chosen = make([]bool, len(states))
	}
	for i, a := range adopted {
		switch {
		case a == nil:
		case chosen[i]:
			a.Start()
			sessions++
		default:
			a.Drop()
		}
	}
	return sessions, err
}

// hold has p adopt a session with these descriptors, which it closes. If that fails, it
// returns nil, with the answer to the old process.
func hold(p *proxy.Proxy, state *proxy.SessionState, client, upstream int) (adopted *proxy.Adopted, answer byte) {
	first, err := connOf(client)
	second, failed := connOf(upstream)
	if err == nil && failed == nil {
		adopted, err = p.Adopt(state, first, second)
	}
	if err == nil && adopted != nil {
		return adopted, isHeld
	}
	for _, conn := range []net.Conn{first, second} {
		if conn != nil {
			conn.Close()
		}
	}
	if errors.Is(err, proxy.ErrNotAdmitted) {
		return nil, notAdmitted
	}
	return nil, notHeld
}
