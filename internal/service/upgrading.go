package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/mtwire/mtwire/internal/service/admin"
	"github.com/mtwire/mtwire/internal/service/upgrade"
	"github.com/mtwire/mtwire/internal/service/users"
	"github.com/mtwire/mtwire/proxy"
)

// An upgrade: the process starts another one, which takes over the listeners and the live
// sessions, and drains what is left. Until the new one has everything, the old one can go
// on as before. docs/upgrade.md has the steps.

// movePause is the time between two attempts to move sessions that move bytes, or are in their
// handshake, until upgrade.Timeouts.Move is over. What cannot move is drained then.
const movePause = 10 * time.Millisecond

var (
	// ErrUpgrading means that another upgrade is on its way.
	ErrUpgrading = errors.New("an upgrade is on its way")

	errFirst     = errors.New("the container of this process would end with it: start a new container, with --takeover if this one has it")
	errService   = errors.New("systemd would end the service with this process: set Type=notify in its unit")
	errEnding    = errors.New("the process ends")
	errNotServed = errors.New("the proxy does not serve yet")
	errTakenOver = errors.New("another process has taken over meanwhile, which answers the next request")
)

// upgradeState is the state of Upgrade.
type upgradeState struct {
	ctx      context.Context // ends when Upgrade must
	cancel   context.CancelFunc
	done     chan struct{} // closed when another process has taken over
	taken    chan struct{} // closed when this one has, or has nothing to take over
	counted  chan struct{} // closed when this one has counted what operators have seen of the process before
	patience time.Duration // countedTime, but in tests
	running  sync.Mutex    // held by Upgrade
	sharer   *sharer       // of the new process; nil before done
}

func newUpgradeState(takesOver bool) *upgradeState {
	u := &upgradeState{done: make(chan struct{}), taken: make(chan struct{}), counted: make(chan struct{}), patience: countedTime}
	u.ctx, u.cancel = context.WithCancel(context.Background())
	if !takesOver {
		close(u.taken)
		close(u.counted)
	}
	return u
}

func (u *upgradeState) isDone() bool {
	select {
	case <-u.done:
		return true
	default:
		return false
	}
}

// stop ends an upgrade that is on its way, and waits for that. There is none afterwards.
func (u *upgradeState) stop() {
	u.cancel()
	u.running.Lock() // when it has ended
	defer u.running.Unlock()
}

// finish waits for an upgrade that is on its way, which the end of ctx ends, and reports whether
// another process has taken over. There is none afterwards.
func (u *upgradeState) finish(ctx context.Context) (isDone bool) {
	defer context.AfterFunc(ctx, u.cancel)()
	u.running.Lock()
	defer u.running.Unlock()
	u.cancel()
	return u.isDone()
}

// Upgraded is what an upgrade has come to.
type Upgraded struct {
	From, To string // versions of the programs; To is "" if the new process has not told
	PID      int    // of the new process
	Sessions int    // have moved
	Left     int    // could not move, and are drained
	Took     time.Duration
}

// Upgrade starts another process, which takes over the listeners and the live sessions, and
// returns when it has. Then Run drains what has not moved, and returns. program is a path,
// "" for that of Config.Program; the arguments are those of Config.Program. If the new
// process fails, ends or hangs before, this one goes on as before, without the sessions
// that the other one had taken by then: Upgrade returns the cause. That is a
// *upgrade.ProgramError if the program could not be started, or does not accept the
// configuration. It is ErrUpgrading if another call has not returned yet.
//
// It is for Linux. It may be called concurrently, while Run serves.
func (s *Service) Upgrade(program string) (result Upgraded, err error) {
	command := s.program
	if program != "" {
		command.Path, command.Chosen = program, true
	}
	begin := func(ctx context.Context, listeners []upgrade.Listener) (*upgrade.Handover, error) {
		return upgrade.Start(ctx, command, listeners)
	}
	result, err = s.tryUpgrade(&command, begin)
	if err != nil && s.upgrade.ctx.Err() != nil {
		err = errEnding
	}
	switch {
	case err == nil:
	case isNotNow(err):
		s.log.Warn("there is no upgrade now", "cause", err)
	default:
		s.log.Error("the upgrade has failed, this process goes on", "program", command.Path, "cause", err)
		s.notifyFailure("upgrade", err)
	}
	return result, err
}

// isNotNow reports whether err means that there is no upgrade in the state that the process
// is in, whatever the new program is.
func isNotNow(err error) bool {
	for _, e := range []error{ErrUpgrading, errFirst, errService, errEnding, errNotServed} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// begin begins the upgrade to another process.
type begin = func(ctx context.Context, listeners []upgrade.Listener) (*upgrade.Handover, error)

// tryUpgrade is Upgrade without the line in the log. command is nil for a process that this
// one does not start.
func (s *Service) tryUpgrade(command *upgrade.Command, begin begin) (result Upgraded, err error) {
	u := s.upgrade
	if !u.running.TryLock() {
		return result, ErrUpgrading
	}
	defer u.running.Unlock()
	switch {
	case command != nil && endsContainer:
		return result, errFirst
	case command != nil && endsWithProcess():
		return result, errService
	case !s.listeners.isServed():
		return result, errNotServed
	case u.ctx.Err() != nil || u.isDone():
		return result, errEnding
	}
	select {
	case <-u.taken: // until then the process before has sessions for this one, and has not told systemd of it
	case <-u.ctx.Done():
		return result, errEnding
	}
	if command != nil {
		s.log.Info("upgrading", "program", command.Path)
		if err := command.Check(u.ctx); err != nil {
			return result, err
		}
	}
	if !s.lockReloading(u.ctx) { // the listeners stay as they are
		return result, errEnding
	}
	defer s.reloading.Unlock()
	s.notifyReloading()
	if result, err = s.handOverTo(command, begin); err != nil {
		s.notify("READY=1")
		return result, err
	}
	close(u.done)
	s.listeners.end()
	return result, nil
}

// reloadTick is the time between two attempts of lockReloading.
const reloadTick = 20 * time.Millisecond

// lockReloading locks reloading, unless ctx ends before: a reload may wait for a file for ever,
// and stop for an upgrade.
func (s *Service) lockReloading(ctx context.Context) (locked bool) {
	for !s.reloading.TryLock() {
		select {
		case <-time.After(reloadTick):
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// handOverTo is an upgrade, once there may be one.
func (s *Service) handOverTo(command *upgrade.Command, begin begin) (result Upgraded, err error) {
	u := s.upgrade
	again, err := s.listeners.duplicate(&s.config) // before descriptors are scarce
	if err != nil {
		return result, err
	}
	if s.store != nil {
		// If the process before has ended since the last write, this one gets the store now:
		// otherwise the new one could, and what this one has counted would be lost.
		s.store.Flush()
	}
	h, err := begin(u.ctx, s.handedListeners())
	if err != nil {
		closeAllHere(again)
		return result, err
	}
	undo := s.keepProgram(h, command)
	begun := time.Now()
	s.policy.ShareRates(h.HasState())
	idle, err := s.moveIdle(h)
	if err != nil {
		s.policy.Alone()
		undo()
		closeAllHere(again)
		return result, err
	}
	s.listeners.pause()
	if h.HasState() {
		s.policy.SetRoom(users.LesserHalf) // for the handshakes that have begun
	}
	sharer := &sharer{service: s, handover: h, sent: make(map[string]string)}
	moving, err := s.moveRest(h, sharer)
	if err == nil {
		if h.HasState() {
			s.policy.SetRoom(users.NoRoom) // before the new process is told what there is, and has all
		}
		err = sharer.send()
	}
	if err == nil {
		err = h.Done()
	}
	if err != nil {
		s.policy.Alone()
		undo()
		s.listeners.resume(again)
		return result, err
	}
	u.sharer = sharer
	closeAllHere(again)
	result = Upgraded{s.config.Version, h.Version(), h.PID(), idle + moving, s.userSessions(), time.Since(begun)}
	s.log.Info("another process has taken over", "pid", result.PID, "sessions", result.Sessions, "left", result.Left,
		"took", result.Took.Round(time.Millisecond), "version", result.To, "before", result.From)
	if command != nil {
		s.notify("MAINPID=%d\nREADY=1%s%s", result.PID, watchdogPart(s.watchdog), statusPart("serving", result.To))
	}
	if u.ctx.Err() != nil { // both are to end
		h.Terminate()
	}
	return result, nil
}

// keepProgram keeps the program of this process, to which a crash of the new one leads back.
func (s *Service) keepProgram(h *upgrade.Handover, command *upgrade.Command) (undo func()) {
	undo = func() {}
	if command == nil { // the container decides what runs
		return undo
	}
	dir, err := stateDirectory(s.config.State)
	if err == nil {
		undo, err = upgrade.Keep(dir, h.PID(), command.Path)
	}
	if err != nil {
		s.log.Warn("the program of this process is not kept: if the new one crashes, it is started again all the same", "cause", err)
	}
	return undo
}

// endTrial ends the trial of this process after an upgrade: it has not crashed.
func (s *Service) endTrial() {
	if dir, err := stateDirectory(s.ending.Load().state); err == nil {
		upgrade.EndTrial(dir)
	}
}

// FallBack starts the program before in the place of this one, path, and does not return, if
// this one has crashed within a minute after an upgrade to it. See upgrade.FallBack.
func FallBack(c *Config, path string, log *slog.Logger) {
	if dir, err := stateDirectory(c.State); err == nil {
		upgrade.FallBack(dir, path, log)
	}
}

// upgradeForAdmin is admin.Config.Upgrade.
func (s *Service) upgradeForAdmin(program string) (admin.Upgrade, error) {
	r, err := s.Upgrade(program)
	var unusable *upgrade.ProgramError
	var refused *upgrade.RefusedError
	switch {
	case err == nil:
	case isNotNow(err):
		err = fmt.Errorf("%w: %w", admin.ErrNoUpgrade, err)
	case errors.As(err, &unusable), errors.As(err, &refused):
		err = fmt.Errorf("%w: %w", admin.ErrProgram, err)
	}
	return admin.Upgrade{
		From: r.From, To: r.To, PID: r.PID, Sessions: r.Sessions, Left: r.Left, Took: r.Took.Seconds(),
	}, err
}

// handedListeners returns all listeners, with their addresses in the configuration.
func (s *Service) handedListeners() (all []upgrade.Listener) {
	for _, l := range s.listeners.list() {
		if l.inherited {
			all = append(all, upgrade.Listener{Use: upgrade.Inherited, Address: l.Addr().String(), Listener: l.Listener})
		} else {
			all = append(all, upgrade.Listener{Use: upgrade.Clients, Address: l.address.String(), Listener: l.Listener})
		}
	}
	all = append(all, s.web.handed()...)
	if s.admin == nil {
		return all
	}
	addresses, _ := s.config.adminAddresses()
	for i, ln := range s.admin.listeners {
		all = append(all, upgrade.Listener{Use: upgrade.Admin, Address: addresses[i].String(), Listener: ln})
	}
	return all
}

// moveIdle moves the sessions that move nothing.
func (s *Service) moveIdle(h *upgrade.Handover) (moved int, err error) {
	pace := newPace(releaseInParts())
	for idle, n := 1, 1; idle > 0 && n > 0; {
		if err := s.upgrade.ctx.Err(); err != nil && moved > 0 {
			return moved, nil // they are the new process's, which is to go on until it has been told to end
		} else if err != nil {
			h.Abort()
			return moved, err
		}
		if n, idle, _, err = h.Move(s.proxy); err != nil {
			return moved, err
		}
		moved += n
		pace.moved(s.upgrade.ctx, n, idle)
	}
	return moved, nil
}

// userSessions returns how many sessions of users there are here.
func (s *Service) userSessions() (n int) {
	for session := range s.proxy.Sessions() {
		if session.User() != nil {
			n++
		}
	}
	return n
}

// moveRest has the new process accept connections, and moves the other sessions, those that can be
// moved in time.
func (s *Service) moveRest(h *upgrade.Handover, sharer *sharer) (moved int, err error) {
	if err := h.SendState(s.carriedState()); err != nil {
		return 0, err
	}
	if err := sharer.send(); err != nil {
		return 0, err
	}
	unknown, err := h.Settle()
	if err != nil {
		return 0, err
	}
	s.closeSessionsOf(unknown)
	for end := time.Now().Add(upgrade.Timeouts.Move); ; {
		n, _, left, err := h.Move(s.proxy)
		if moved += n; err == nil && n > 0 {
			err = sharer.send()
		} else if err == nil {
			err = sharer.sendSometimes()
		}
		if err != nil {
			return moved, err
		}
		if left == 0 || time.Now().After(end) || s.upgrade.ctx.Err() != nil {
			return moved, nil
		}
		if n > 0 {
			continue
		}
		select {
		case <-time.After(movePause):
		case <-s.upgrade.ctx.Done(): // what is left is drained here
		}
	}
}

// closeSessionsOf closes the sessions of users by name, which may not go on in the next process.
func (s *Service) closeSessionsOf(names []string) {
	if len(names) == 0 {
		return
	}
	for session := range s.proxy.Sessions() {
		if user := session.User(); user != nil && slices.Contains(names, user.Name) {
			session.Close(proxy.ErrNotAdmitted)
		}
	}
}

// countedTime is how long this process waits for what the one before has counted last: programs
// before this one do not tell when they serve operators no more.
const countedTime = time.Second

// takeOver takes the sessions of the process before over, if there is one. It returns when
// that one accepts no more connections, or when ctx ends; sessions may follow.
func (s *Service) takeOver(ctx context.Context) error {
	t := s.takeover
	if t == nil {
		return nil
	}
	settled := make(chan struct{})
	unused, handed := s.unusedSockets(), s.unixListeners()
	counted := sync.OnceFunc(func() { close(s.upgrade.counted) })
	restorer := &restorer{service: s, proxy: s.proxy.Restorer(), unused: unused, usage: make(map[string]users.Counter), counted: counted}
	s.policy.ShareRates(t.HasState())
	go func() {
		defer s.policy.Alone()
		defer counted()
		stop := dropPages() // of the start, so that they are not in memory beside the process before
		sessions, err := t.Run(ctx, s.proxy, func() (unknown []string) {
			restorer.proxy = s.proxy.Restorer() // without what it needed for the addresses
			s.policy.ShareRates(false)
			if t.HasState() {
				s.policy.SetRoom(users.GreaterHalf)
			}
			close(settled)
			return restorer.unknown
		}, restorer.add)
		s.policy.SetRoom(users.AllRoom)
		stop()
		goesOn := errors.Is(err, upgrade.ErrAborted) || errors.Is(err, upgrade.ErrInterrupted)
		if !goesOn { // until here the process before may have to go on with its sockets
			s.setElsewhere(false)
			for _, ln := range handed { // also those that a reload has closed meanwhile
				ln.leave(false)
			}
		}
		closeUnused(unused, goesOn)
		close(s.upgrade.taken)
		if errors.Is(err, upgrade.ErrInterrupted) {
			s.log.Info("this process ends before it has taken over")
			s.abandon(err)
			return
		}
		if errors.Is(err, upgrade.ErrAborted) {
			s.log.Error("this process ends", "cause", err)
			s.abandon(err)
			return
		}
		if err != nil {
			s.log.Warn("the process before has ended during the upgrade", "sessions", sessions, "cause", err)
			return
		}
		s.log.Info("took over", "sessions", sessions)
		time.AfterFunc(s.upgrade.patience, counted)
		defer s.tellStopped(t)()
		t.Follow(restorer.add) // until it has ended
	}()
	select {
	case <-settled:
		return nil
	case err := <-s.abandoned:
		return err
	}
}
