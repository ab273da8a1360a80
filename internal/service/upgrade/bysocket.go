package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// A process that the old one has not started takes over through a socket in the file system:
// in another container, for example. The old process cannot end it, so it tells it the end of
// an upgrade that fails, before it closes the socket. The end of the socket alone still means
// that the old process has ended.

// ErrAborted means that the old process has ended the upgrade, and goes on: this one has
// nothing, and is to end.
var ErrAborted = errors.New("the process before has ended the upgrade, and goes on")

// Accept begins the upgrade to a process that has connected: see Start. If refusal is not
// nil, that is told instead, and returned.
func Accept(ctx context.Context, conn *net.UnixConn, listeners []Listener, refusal error) (*Handover, error) {
	pid, err := peerOf(conn)
	if err == nil {
		err = refusal
	}
	if err != nil {
		text := err.Error()
		send(conn, append([]byte{byte(refuseMessage)}, text[:min(len(text), maxText)]...), nil)
		conn.Close()
		return nil, err
	}
	h := &Handover{conn: conn, pid: pid, most: usualBatch}
	step("old started")
	if err := h.greet(ctx, listeners); err != nil {
		h.Abort()
		return nil, err
	}
	return h, nil
}

// FromSocket returns the Takeover of a process that takes over from the one that listens on
// a socket, by Accept, and nil if none does. version is this program's.
func FromSocket(path, version string) (*Takeover, error) {
	conn, err := dialSocket(path)
	if conn == nil || err != nil {
		return nil, err
	}
	t := &Takeover{conn: conn, addresses: make(map[Use][]string), foreign: true}
	if _, err = peerOf(conn); err == nil {
		conn.SetDeadline(time.Now().Add(Timeouts.Start))
		if err = t.greet(version); err == nil {
			return t, nil
		}
	}
	conn.Close()
	for _, l := range t.listeners {
		l.Close()
	}
	return nil, err
}

// IsForeign reports whether the old process has not started this one.
func (t *Takeover) IsForeign() bool { return t != nil && t.foreign }

// ended returns err of the socket, or ErrAborted if the old process lives: it has told the end
// of the upgrade before it closed the socket, or this process cannot follow it.
func (t *Takeover) ended(err error) error {
	if !t.foreign || err == nil || errors.Is(err, ErrAborted) {
		return err
	}
	for range 4 { // a reset comes before what was sent
		if !isEnd(err) {
			return fmt.Errorf("%w: %v", ErrAborted, err)
		}
		if errors.Is(err, io.EOF) {
			return err
		}
		var message []byte
		var fds []int
		t.conn.SetReadDeadline(time.Now().Add(Timeouts.Step))
		message, fds, err = receive(t.conn, t.buf[:], 2*maxBatch)
		closeFDs(fds)
		if err == nil && kind(message[0]) == abortMessage {
			return ErrAborted
		}
		if err == nil {
			err = io.ErrNoProgress
		}
	}
	return ErrAborted
}
