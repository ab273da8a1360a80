package admin

import (
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"time"
)

// Upgrade is the result of an upgrade: another process has taken the place of the one that
// answers, which drains the sessions that are left.
type Upgrade struct {
	From     string  `json:"from"` // version of the program before
	To       string  `json:"to"`   // of the new one, "" if it is not known
	PID      int     `json:"pid"`  // of the new process
	Sessions int     `json:"sessions"`
	Left     int     `json:"left"`
	Took     float64 `json:"seconds"`
}

var (
	// ErrNoUpgrade means that the process cannot be upgraded now: another upgrade is on its
	// way, or it starts or ends.
	ErrNoUpgrade = errors.New("there is no upgrade now")
	// ErrProgram means that the new program cannot be started, or does not accept the
	// configuration.
	ErrProgram = errors.New("nothing has changed")
)

// upgradeTimeout limits an upgrade: the check of the configuration, the start of the new
// process and the sessions that move take at most that long.
const upgradeTimeout = 4 * time.Minute

type upgradeRequest struct {
	Binary string `json:"binary,omitempty"` // absolute path
}

// upgrade upgrades, also if the client does not wait for the end of it. A program can be
// named over a Unix socket only: the token of requests over TCP does not let its owner run
// programs.
func (s *Server) upgrade(r *http.Request) (answer, error) {
	if s.config.Upgrade == nil {
		return answer{}, fail(http.StatusNotImplemented, "the proxy cannot be upgraded: it does not run")
	}
	var d upgradeRequest
	if r.ContentLength != 0 {
		if err := decode(r, &d); err != nil {
			return answer{}, err
		}
	}
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	switch {
	case d.Binary != "" && !filepath.IsAbs(d.Binary):
		return answer{}, fail(http.StatusUnprocessableEntity, "binary must be an absolute path")
	case d.Binary != "" && local != nil && local.Network() != "unix":
		return answer{}, fail(http.StatusForbidden, "a program can be named over the Unix socket only; without one, that of the proxy is started again")
	}
	result, err := s.config.Upgrade(d.Binary)
	switch {
	case errors.Is(err, ErrNoUpgrade):
		return answer{}, fail(http.StatusConflict, "%v", err)
	case errors.Is(err, ErrProgram):
		return answer{}, fail(http.StatusUnprocessableEntity, "%v", err)
	case err != nil:
		return answer{}, fail(http.StatusBadGateway, "the upgrade has failed, and the proxy goes on: %v", err)
	}
	return answer{body: result}, nil
}
