package service

import (
	"context"
	"os"
	"strconv"
	"time"
)

// The watchdog of systemd: a service that does not notify it in time is ended and started
// again.
//
// Specification: https://www.freedesktop.org/software/systemd/man/latest/sd_watchdog_enabled.html

const (
	watchdogVariable    = "WATCHDOG_USEC"
	watchdogPIDVariable = "WATCHDOG_PID"
)

// watchdogInterval returns the time between two notifications, half of what systemd waits,
// and 0 if it does not wait for those of this process. That it waits for the process before,
// which this one upgrades, makes no difference: see Run.
func watchdogInterval(takesOver bool) time.Duration {
	limit, err := strconv.ParseInt(os.Getenv(watchdogVariable), 10, 64)
	pid := os.Getenv(watchdogPIDVariable)
	if err != nil || limit <= 0 || pid != "" && pid != strconv.Itoa(os.Getpid()) && !takesOver {
		return 0
	}
	return time.Duration(limit) * time.Microsecond / 2
}

// watchdogPart returns what a message has besides if it is to count for the watchdog.
func watchdogPart(interval time.Duration) string {
	if interval == 0 {
		return ""
	}
	return "\nWATCHDOG=1"
}

// keepWatchdog notifies the watchdog as long as the proxy responds, also during an upgrade,
// until another process has taken over. A process that takes over begins when it is the
// service's main one. The caller calls stop, which waits.
func (s *Service) keepWatchdog() (stop func()) {
	if s.watchdog == 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(s.watchdog)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
			if s.isMain() && s.responds(ctx) {
				s.notify("WATCHDOG=1")
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// responds reports whether the proxy serves its sessions, and it, the web site and the admin listener
// accept others.
func (s *Service) responds(ctx context.Context) bool {
	limit, cancel := context.WithTimeout(ctx, s.watchdog)
	defer cancel()
	err := s.proxy.Responds(limit)
	if err == nil {
		err = s.web.responds(limit)
	}
	if err == nil {
		err = s.admin.responds(limit)
	}
	if err != nil && ctx.Err() == nil {
		s.log.Error("the proxy does not respond, and systemd is not notified", "cause", err)
	}
	return err == nil
}

// isMain reports whether this process is the service's main one: it has everything of the
// process before, if there was one, and no other process has taken over.
func (s *Service) isMain() bool {
	select {
	case <-s.upgrade.taken:
		return !s.upgrade.isDone()
	default:
		return false
	}
}
