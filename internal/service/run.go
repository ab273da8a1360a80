package service

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
)

// Run serves clients until ctx ends. Then it drains: it stops listening, closes
// each session as soon as it is idle, and returns nil when none is left. After
// Config.Drain, or when abort ends, it closes the rest at once.
//
// If a listener fails, Run closes everything and returns the error.
func (s *Service) Run(ctx, abort context.Context) (err error) {
	go s.replay.Run(context.WithoutCancel(ctx))
	defer s.replay.Close() // when the last handshake has ended
	s.ran.Store(true)
	defer s.runLimits()()
	if s.kept != nil {
		defer s.kept.watchUse(s.log)()
	}
	defer s.admin.serve(ctx, s.log)() // until all sessions have ended
	defer s.watchLoops()()
	releaseStart(ctx)
	probing, stop := context.WithCancel(ctx)
	var probe sync.WaitGroup
	probe.Go(func() {
		if s.config.Probe {
			s.probe(probing)
		}
		close(s.probed)
	})
	defer probe.Wait()
	defer stop()
	failed, over := s.listeners.run(s.proxy.Serve)
	select {
	case err = <-failed:
		s.proxy.Close()
	case <-over: // Close was called
	case <-ctx.Done():
		s.drain(abort)
	}
	<-over
	select {
	case e := <-failed:
		err = cmp.Or(err, e)
	default:
	}
	return err
}

// logLimits logs the limits that are in force.
func (s *Service) logLimits() {
	limits := s.proxy.Limits()
	level, message := slog.LevelInfo, "limits"
	if limits.Exceeded() {
		level, message = slog.LevelWarn, "limits that may exceed the descriptors of the process: raise its limit of open files"
	}
	s.log.Log(context.Background(), level, message, "max_unauthenticated", limits.Unauthenticated,
		"max_fronted", limits.Fronted, "descriptors", limits.Descriptors,
		"max_unauthenticated_per_address", limits.PerAddress, "max_unauthenticated_rate", s.config.MaxUnauthenticatedRate)
	if lists := s.Access(); lists.Allow >= 0 || lists.Block > 0 {
		s.log.Info("lists of networks", "allowed", lists.Allow, "blocked", lists.Block)
	}
}

// drain shuts the proxy down gracefully, until Config.Drain is over or abort ends.
func (s *Service) drain(abort context.Context) {
	limit, cancel := context.WithTimeout(abort, s.config.Drain)
	defer cancel()
	open := s.proxy.Stats().Open
	s.log.Info("stopping", "open", open)
	s.handOver(limit)
	if err := s.proxy.Shutdown(limit); err != nil && open > 0 {
		s.log.Info("stopped before all connections had ended")
	}
}

// Close stops listening and closes all sessions; Run returns. It may be called at
// any time and more than once.
func (s *Service) Close() {
	s.proxy.Close()
	s.replay.Close()
	if s.store != nil && !s.ran.Load() { // otherwise Run closes it
		s.store.Close()
	}
	s.listeners.closeAll()
	s.admin.close()
}
