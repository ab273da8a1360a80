package service

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/mtwire/mtwire/internal/drain"
	"github.com/mtwire/mtwire/internal/service/upgrade"
)

// Run serves clients until ctx ends. Then it drains: it stops listening, closes
// each session as soon as it is idle, and returns nil when none is left. After
// Config.Drain, or when abort ends, it closes the rest at once.
//
// If a listener fails, Run closes everything and returns the error. After Upgrade it
// drains as well, and returns nil, also if a listener has failed meanwhile.
func (s *Service) Run(ctx, abort context.Context) (err error) {
	go s.replay.Run(context.WithoutCancel(ctx))
	defer s.replay.Close() // when the last handshake has ended
	s.ran.Store(true)
	defer s.runLimits()()
	if err := s.takeOver(ctx); err != nil {
		s.Close()
		if errors.Is(err, upgrade.ErrInterrupted) {
			return nil
		}
		return err
	}
	s.reloading.Lock()
	kept := s.kept
	s.reloading.Unlock()
	if kept != nil {
		defer kept.watchUse(s.log)()
	}
	defer s.admin.serve(ctx, s.upgrade.counted, s.log)() // until all sessions have ended
	s.releaseStart(ctx)
	defer s.look(ctx)()
	webFailed, stopWeb := s.web.run(s.proxy.Serve)
	defer stopWeb()
	failed, over := s.listeners.run(s.proxy.Serve)
	if s.takeover == nil || s.takeover.IsForeign() { // otherwise the process before has told it
		s.notify("READY=1%s", statusPart("serving", s.version))
	}
	defer s.listenTakeover()()
	if s.takeover != nil {
		trial := time.AfterFunc(upgrade.TrialTime, s.endTrial)
		defer func() {
			trial.Stop()
			if err == nil {
				s.endTrial()
			}
		}()
	}
	s.storeSoon()
	defer s.keepWatchdog()()
	select {
	case err = <-failed:
		err = s.endWithListener(ctx, abort, err)
	case err = <-webFailed:
		err = s.endWithListener(ctx, abort, err)
	case err = <-s.abandoned:
		s.upgrade.stop()
		s.proxy.Close()
	case <-over: // Close was called
	case <-ctx.Done():
		s.awaitTaken(abort)
		if s.upgrade.stop(); s.upgrade.isDone() {
			s.drainLeft(abort)
			break
		}
		s.notify("STOPPING=1%s", statusPart("draining sessions", ""))
		s.drain(abort)
	case <-s.upgrade.done:
		s.drainLeft(abort)
	}
	<-over
	if s.upgrade.isDone() { // the listeners are another process's
		return err
	}
	select {
	case e := <-failed:
		err = cmp.Or(err, e)
	default:
	}
	return err
}

// endWithListener closes everything after a listener has failed, and returns the cause. If an
// upgrade is on its way that comes first: the listeners are the other process's then, which opens
// what has failed anew, and this one drains.
func (s *Service) endWithListener(ctx, abort context.Context, cause error) error {
	s.log.Error("a listener has failed", "cause", cause)
	if s.upgrade.finish(ctx) {
		s.drainLeft(abort)
		return nil
	}
	s.proxy.Close()
	return cause
}

// awaitTaken waits, before this process ends, for what still comes from the process before: a
// session that is on its way would be lost.
func (s *Service) awaitTaken(abort context.Context) {
	select {
	case <-s.upgrade.taken:
	case <-abort.Done():
	case <-time.After(2 * upgrade.Timeouts.Move): // it hangs
	}
}

// drainLeft drains what has not moved to the process that has taken over.
func (s *Service) drainLeft(abort context.Context) {
	s.web.leave()
	s.admin.leave() // after a second at most, in which clients are to be the other process's
	stop := s.upgrade.sharer.follow()
	limit, cancel := context.WithTimeout(abort, s.ending.Load().drain)
	defer cancel()
	s.drainWeb(limit)
	s.drain(limit)
	stop()
}

// drainWeb drains the sessions of WEB clients, which may open streams meanwhile: the process
// that has taken over does not know them. All other sessions end as in drain.
func (s *Service) drainWeb(limit context.Context) {
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		s.web.server.Shutdown(limit)
	}()
	const interval = 250 * time.Millisecond
	looks, tick := drain.NewLooks(time.Now(), interval), time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if !looks.Late(time.Now()) {
				s.proxy.CloseIdle()
			}
		case <-drained:
			return
		}
	}
}

// look probes the data centres and looks for fronting hosts that are the proxy itself, at
// the start and whenever lookAgain has asked for it. The caller calls stop, which waits.
func (s *Service) look(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var looking sync.WaitGroup
	probe := func() {
		if s.ending.Load().probe {
			s.probe(ctx)
		}
	}
	looking.Go(func() {
		probe()
		close(s.probed)
		whenever(ctx, s.probeAgain, probe)
	})
	looking.Go(func() {
		s.warnOfLoops(ctx)
		whenever(ctx, s.loopsAgain, func() { s.warnOfLoops(ctx) })
	})
	return func() {
		cancel()
		looking.Wait()
	}
}

// whenever calls do for each element of c, until ctx ends.
func whenever(ctx context.Context, c <-chan struct{}, do func()) {
	for {
		select {
		case <-c:
			do()
		case <-ctx.Done():
			return
		}
	}
}

// endSettings are the settings that Run needs until it returns. They have no lock: a reload
// holds reloading for as long as its files take: seconds if one is a FIFO without a writer, and
// for ever if one is on a file server that is gone.
type endSettings struct {
	drain time.Duration
	probe bool
	state string
}

func (s *Service) setEnding() {
	s.ending.Store(&endSettings{s.config.Drain, s.config.Probe, s.config.State})
}

// current returns the configuration that is in force.
func (s *Service) current() Config {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	return s.config
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
	limit, cancel := context.WithTimeout(abort, s.ending.Load().drain)
	defer cancel()
	open := s.proxy.Stats().Open
	s.log.Info("stopping", "open", open)
	s.web.stopListening()
	if !s.upgrade.isDone() { // the sockets are the other process's as well
		s.handOver(limit)
	}
	go s.web.server.Shutdown(limit) // which ends with the site
	if err := s.proxy.Shutdown(limit); err != nil && open > 0 {
		s.log.Info("stopped before all connections had ended")
	}
}

// Close stops listening and closes all sessions; Run returns. It may be called at
// any time and more than once.
func (s *Service) Close() {
	s.proxy.Close()
	s.web.close()
	s.replay.Close()
	if s.store != nil && !s.ran.Load() { // otherwise Run closes it
		s.store.Close()
	}
	s.listeners.closeAll()
	s.admin.close()
}
