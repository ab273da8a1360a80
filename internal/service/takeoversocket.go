package service

import (
	"context"
	"log/slog"
	"net"
	"os"

	"github.com/mtwire/mtwire/internal/netx"
	"github.com/mtwire/mtwire/internal/service/upgrade"
)

// The socket of --takeover, at which a process that this one has not started takes over: that
// of another container, which shares a volume. docs/upgrade.md has what it needs.

// listenTakeover hands over to the first process that connects to the socket and can take
// over, once this process has everything of the one before. The caller calls stop.
func (s *Service) listenTakeover() (stop func()) {
	path := s.current().TakeoverSocket
	if path == "" {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-s.upgrade.taken:
		case <-ctx.Done():
			return
		}
		ln, err := upgrade.ListenSocket(path)
		if err != nil {
			logNoTakeover(s.log, path, err)
			return
		}
		defer ln.Close()
		own, _ := os.Lstat(path)
		defer netx.CloseAfter(ctx, ln)()
		s.serveTakeover(ln, path)
		if now, err := os.Lstat(path); err == nil && !s.upgrade.isDone() && os.SameFile(own, now) {
			os.Remove(path)
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

func logNoTakeover(log *slog.Logger, path string, err error) {
	log.Error("no process can take over", "socket", path, "cause", err)
}

// serveTakeover returns when another process has taken over, or ln is closed.
func (s *Service) serveTakeover(ln *net.UnixListener, path string) {
	for !s.upgrade.isDone() {
		conn, err := ln.AcceptUnix()
		if err != nil {
			return
		}
		s.handOverBySocket(conn, path)
	}
}

// handOverBySocket hands over to the process that has connected.
func (s *Service) handOverBySocket(conn *net.UnixConn, path string) {
	s.log.Info("a process asks to take over", "socket", path)
	begun := false
	begin := func(ctx context.Context, listeners []upgrade.Listener) (*upgrade.Handover, error) {
		begun = true // and closes conn if it fails
		return upgrade.Accept(ctx, conn, listeners, nil)
	}
	_, err := s.tryUpgrade(nil, begin)
	if err == nil {
		return
	}
	s.log.Error("no process has taken over, this one goes on", "cause", err)
	s.notifyFailure("upgrade", err)
	if !begun {
		upgrade.Accept(context.Background(), conn, nil, err) // which tells it err
	}
}

// abandon ends a process whose takeover the process before has ended: its sockets are that
// one's. Run returns err.
func (s *Service) abandon(err error) {
	s.setElsewhere(true)
	s.abandoned <- err // it has room
}
