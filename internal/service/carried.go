package service

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/mtwire/mtwire/internal/service/metrics"
	"github.com/mtwire/mtwire/internal/service/upgrade"
	"github.com/mtwire/mtwire/internal/service/users"
	"github.com/mtwire/mtwire/proxy"
)

// What moves in an upgrade besides sockets and sessions. The new process gets all of it
// before it accepts connections. While the old one goes on with sessions, it sends again
// what these change: what users have, and what is counted.

// The parts of the state, besides those of proxy.Findings. docs/upgrade.md has the elements.
const (
	levelPart   = "log_level"
	ratePart    = "rate"
	userPart    = "user"
	counterPart = "counter"
	socketPart  = "socket"
	leftPart    = "left"
)

// shareInterval is the time between two messages about what changes.
const shareInterval = 250 * time.Millisecond

// carriedState returns all that the next process is to begin with. Under reloading.
func (s *Service) carriedState() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		if level := s.config.Level; level != nil && level.Level() != slog.Level(s.config.LogLevel) {
			if !yield(levelPart, level.Level()) {
				return
			}
		}
		for _, element := range socketFindings(s.handedListeners()) {
			if !yield(socketPart, element) {
				return
			}
		}
		for element := range s.rates.findings() {
			if !yield(ratePart, element) {
				return
			}
		}
		for part, element := range s.proxy.Findings() {
			if !yield(part, element) {
				return
			}
		}
	}
}

// sharedState returns what changes as long as this process has sessions.
func (s *Service) sharedState() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		for share := range s.policy.Shares() {
			if !yield(userPart, share) {
				return
			}
		}
		if s.admin == nil {
			return
		}
		for series := range s.admin.metrics.Counters() {
			if !yield(counterPart, series) {
				return
			}
		}
	}
}

// sharer sends what changes to the next process.
type sharer struct {
	service  *Service
	handover *upgrade.Handover
	sent     map[string]string // the last element about each user and of each counter
	at       time.Time
}

// changed returns the elements of sharedState that were not sent before.
func (r *sharer) changed() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		for part, element := range r.service.sharedState() {
			text, err := json.Marshal(element)
			key := part + "\n" + keyOf(element)
			if err != nil || r.sent[key] == string(text) {
				continue
			}
			r.sent[key] = string(text)
			if !yield(part, json.RawMessage(text)) {
				return
			}
		}
	}
}

// keyOf returns what an element is about: another one about it takes its place.
func keyOf(element any) string {
	var key []byte
	switch e := element.(type) {
	case users.Share:
		key, _ = json.Marshal([]any{e.User, firstNetwork(e)})
	case metrics.Series:
		key, _ = json.Marshal([]any{e.Name, e.Labels})
	}
	return string(key)
}

func firstNetwork(s users.Share) string {
	if len(s.Addresses) == 0 {
		return ""
	}
	return s.Addresses[0].Network.String()
}

// send sends what has changed.
func (r *sharer) send() error {
	r.at = time.Now()
	return r.handover.SendState(r.changed())
}

// sendSometimes is send, if the last one is long ago.
func (r *sharer) sendSometimes() error {
	if time.Since(r.at) < shareInterval {
		return nil
	}
	return r.send()
}

// follow sends what changes, now and until stop is called, and then once more. This process serves
// operators no more, and tells that as well: what they have seen counted here is counted in the next
// process by then. It may be called on nil.
func (r *sharer) follow() (stop func()) {
	if r == nil || !r.handover.HasState() {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { r.handover.Follow(r.service.closeSessionsOf) })
	var sending sync.WaitGroup
	sending.Go(func() {
		if r.send() != nil || r.handover.SendState(hasLeft) != nil {
			return
		}
		ticker := time.NewTicker(shareInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				if r.send() != nil {
					return // the new process has ended, or hangs
				}
			case <-ctx.Done():
				r.send()
				return
			}
		}
	})
	return func() {
		cancel()
		sending.Wait()
		r.handover.Close()
		running.Wait()
	}
}

// hasLeft is the state of a process that serves operators no more.
func hasLeft(yield func(string, any) bool) { yield(leftPart, true) }

// tellStopped tells the process before, again and again, whose sessions it is to end, until the
// caller calls stop, which waits. It ends earlier if that process does not take it.
func (s *Service) tellStopped(t *upgrade.Takeover) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var telling sync.WaitGroup
	telling.Go(func() {
		ticker := time.NewTicker(shareInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				if names := s.policy.StoppedElsewhere(); len(names) > 0 && t.SendStopped(names) != nil {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		telling.Wait()
	}
}

// restorer makes the state of the process before this one's.
type restorer struct {
	service *Service
	proxy   *proxy.Restorer
	unknown []string                 // users of that process that this one does not have
	unused  []upgrade.Listener       // sockets of that process that this one does not listen on
	usage   map[string]users.Counter // what was last added without a store
	counted func()                   // called when operators may be served
	warned  bool
}

// addShare takes what the process before has of a user over. Its usage comes from the store,
// or without one from there.
func (r *restorer) addShare(share users.Share) {
	s := r.service
	if !s.policy.Add(share) {
		r.unknown = append(r.unknown, share.User)
		return
	}
	if s.store == nil {
		s.policy.Merge([]users.Counter{r.usage[share.User]}, []users.Counter{share.Counter})
		r.usage[share.User] = share.Counter
	}
}

// addSocket takes over which file a Unix socket has.
func (r *restorer) addSocket(f socketFinding) {
	s := r.service
	s.reloading.Lock() // which closes listeners
	defer s.reloading.Unlock()
	f.take(s.handedListeners())
	f.take(r.unused)
}

// add takes an element over. What this program cannot read is left out: the sessions move
// without it.
func (r *restorer) add(part string, element []byte) {
	s := r.service
	var err error
	switch part {
	case levelPart:
		var level slog.Level
		if own := s.current().Level; own != nil {
			if err = json.Unmarshal(element, &level); err == nil {
				own.Set(level)
			}
		}
	case ratePart:
		err = decode(element, s.rates.add)
	case socketPart:
		err = decode(element, r.addSocket)
	case userPart:
		err = decode(element, r.addShare)
	case counterPart:
		err = decode(element, func(series metrics.Series) {
			if s.admin != nil {
				s.admin.metrics.Add(series)
			}
		})
	case leftPart:
		r.counted()
	default:
		err = r.proxy.Add(part, element)
	}
	if err != nil && !errors.Is(err, errors.ErrUnsupported) && !r.warned {
		r.warned = true
		s.log.Warn("the process before has sent state that cannot be read, and is left out", "part", part, "cause", err)
	}
}

func decode[E any](element []byte, to func(E)) error {
	var e E
	err := json.Unmarshal(element, &e)
	if err == nil {
		to(e)
	}
	return err
}
