// Package live keeps clients of a proxy connected while it is upgraded, restarted or moved to
// another container, and notices each one that is cut off, gets other bytes or is refused.
package live

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
)

// Secrets are the lines of a file of --secrets whose users Sessions are of.
const Secrets = "plain=" + mtwiretest.PlainSecret + "\nee=" + mtwiretest.FakeTLSSecret + "\n"

// modes are queries of clients in all modes of an MTProxy.
var modes = []string{
	"secret=" + mtwiretest.PlainSecret,
	"protocol=intermediate&secret=" + mtwiretest.PlainSecret,
	"secret=dd" + mtwiretest.PlainSecret,
	"secret=" + mtwiretest.FakeTLSSecret,
}

// answerTime is how long a client waits for an answer.
const answerTime = 20 * time.Second

// Sessions are clients that stay connected: silent ones, and ones that exchange packets all
// the time, short and long ones.
type Sessions struct {
	idle, busy []*mtwire.Conn
	stop       context.CancelFunc
	running    sync.WaitGroup

	mu   sync.Mutex
	errs []error
}

// Join connects three silent clients, one that chats and one with long packets in each mode.
// The caller calls Close.
func Join(ctx context.Context, address string) (*Sessions, error) {
	s := &Sessions{}
	ctx, s.stop = context.WithCancel(ctx)
	for _, mode := range modes {
		for i := range 5 {
			conn, err := mtwire.Dial(ctx, "tcp://"+address+"?"+mode, nil)
			if err == nil {
				err = echo(ctx, conn, 64)
			}
			if err != nil {
				s.Close()
				return nil, err
			}
			if i < 3 {
				s.idle = append(s.idle, conn)
				continue
			}
			s.busy = append(s.busy, conn)
			size := 100
			if i == 4 {
				size = 200_000
			}
			s.running.Go(func() { s.chat(ctx, conn, size) })
		}
	}
	return s, nil
}

// Len returns the number of sessions.
func (s *Sessions) Len() int { return len(s.idle) + len(s.busy) }

func (s *Sessions) chat(ctx context.Context, conn *mtwire.Conn, size int) {
	pause := time.NewTicker(5 * time.Millisecond)
	defer pause.Stop()
	for ctx.Err() == nil {
		if err := echo(ctx, conn, size); err != nil && ctx.Err() == nil {
			s.mu.Lock()
			s.errs = append(s.errs, fmt.Errorf("a session that moves packets of %d bytes: %w", size, err))
			s.mu.Unlock()
			return
		}
		<-pause.C
	}
}

// Check returns an error if a session has been cut off, or a silent one does not get its
// answer.
func (s *Sessions) Check(ctx context.Context) error {
	s.mu.Lock()
	errs := append([]error(nil), s.errs...)
	s.mu.Unlock()
	for _, conn := range s.idle {
		if err := echo(ctx, conn, 100); err != nil {
			errs = append(errs, fmt.Errorf("a silent session: %w", err))
		}
	}
	return errors.Join(errs...)
}

// Close ends the sessions.
func (s *Sessions) Close() {
	s.stop()
	for _, conn := range append(s.idle, s.busy...) {
		conn.Close()
	}
	s.running.Wait()
}

// echo sends a packet of about that many bytes, and receives it back.
func echo(ctx context.Context, conn *mtwire.Conn, size int) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	sent := make([]byte, size+24-(size+24)%16+8)
	rand.Read(sent)
	if err := conn.Send(ctx, sent); err != nil {
		return err
	}
	p, err := conn.Receive(ctx)
	if err == nil && !bytes.Equal(p.Payload, sent) {
		err = fmt.Errorf("other bytes have come back, %d of %d", len(p.Payload), len(sent))
	}
	return err
}
