package relay

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/httpconn"
)

// maxRepeated is the number of failed POSTs in a row that are sent again, each after a
// longer pause.
const maxRepeated = 3

// repeats are the packets of failed POSTs that are to be sent again.
type repeats struct {
	tasks sync.WaitGroup // those that are in a pause, or wait for the place of another POST

	mu   sync.Mutex
	left [][]byte // those that the connection does not take, because the client's end was passed on
}

// repeat has the packet of a failed POST sent again. A data centre serves a message that it
// gets twice once. Meanwhile the answers to the others are received: a POST may wait for the
// place of one whose answer was not.
func (s *session) repeat(ctx context.Context, post *httpconn.PostError) error {
	s.failed++
	if s.failed > maxRepeated || !mtwire.Retryable(post) {
		return post
	}
	pause, server := time.Duration(s.failed)*200*time.Millisecond, s.server
	s.progress()
	s.repeats.tasks.Go(func() {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		switch err := server.Send(ctx, post.Packet); {
		case err == nil:
		case errors.Is(err, net.ErrClosed) && s.endPassed():
			s.repeats.mu.Lock()
			s.repeats.left = append(s.repeats.left, post.Packet)
			s.repeats.mu.Unlock()
		default:
			s.cancel(post)
		}
	})
	return nil
}

// repeatAnew is called when all POSTs of before the client's end have ended. If some have failed,
// a new connection to the same server gets their packets, and the end. Otherwise the error is io.EOF.
func (s *session) repeatAnew(ctx context.Context) error {
	s.repeats.tasks.Wait() // no longer than a pause: there is no POST left to wait for
	packets := s.repeats.left
	if len(packets) == 0 {
		return io.EOF
	}
	s.repeats.left = nil
	server, err := s.dial(ctx)
	if err != nil {
		return err
	}
	s.closeServer()
	s.server = server
	s.ends.mu.Lock()
	s.ends.to = server
	s.ends.mu.Unlock()
	s.tasks.Go(func() {
		for _, packet := range packets {
			if err := server.Send(ctx, packet); err != nil {
				s.cancel(err)
				return
			}
			s.progress()
		}
		if err := s.endUpload(ctx, server); err != nil {
			s.cancel(err)
		}
	})
	return nil
}
