package admin

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/mtwire/mtwire/proxy"
)

const (
	// defaultSessions and maxSessions limit the sessions of one answer.
	defaultSessions = 100
	maxSessions     = 1000
)

// errClosedByOperator is the cause of sessions that the API closes.
var errClosedByOperator = errors.New("the operator has closed the session")

type sessionDocument struct {
	ID             uint64  `json:"id"`
	Stage          string  `json:"stage"`
	Client         string  `json:"client"`
	User           string  `json:"user,omitempty"`
	Mode           string  `json:"mode,omitempty"`
	Protocol       string  `json:"protocol,omitempty"`
	DC             int     `json:"dc,omitempty"`
	Upstream       string  `json:"upstream,omitempty"`
	Address        string  `json:"address,omitempty"`
	Front          string  `json:"front,omitempty"`
	Up             int64   `json:"up"`
	Down           int64   `json:"down"`
	Duration       float64 `json:"duration_seconds"`
	Idle           float64 `json:"idle_seconds"`
	TransportError uint32  `json:"transport_error,omitempty"`
}

func documentOf(id uint64, r *proxy.Report) sessionDocument {
	d := sessionDocument{
		ID: id, Stage: stageName(r.Stage), Client: r.Client, Front: r.Front, Up: r.Up, Down: r.Down,
		Duration: seconds(r.Duration), Idle: seconds(max(r.Idle, 0)), TransportError: r.TransportError,
		Mode: r.Mode.String(), Upstream: r.Upstream, Address: r.Address,
	}
	if r.User != nil {
		d.User = r.User.Name
	}
	if r.Stage >= proxy.Authenticated {
		d.Protocol, d.DC = r.Protocol.String(), int(r.DC)
	}
	return d
}

// sessionFilter selects sessions. It is what the query of a request has.
type sessionFilter struct {
	user, mode, stage, upstream *string
	dc                          *int
	idle                        time.Duration
	after                       uint64
	limit                       int
}

// filterOf parses a query.
func filterOf(query url.Values) (f sessionFilter, err error) {
	f.limit = defaultSessions
	texts := map[string]**string{"user": &f.user, "mode": &f.mode, "stage": &f.stage, "upstream": &f.upstream}
	for key, values := range query {
		value := values[len(values)-1]
		text, isText := texts[key]
		switch {
		case isText:
			*text = &value
		case key == "dc":
			var dc int
			dc, err = strconv.Atoi(value)
			f.dc = &dc
		case key == "idle":
			var n uint64
			n, err = strconv.ParseUint(value, 10, 31)
			f.idle = time.Duration(n) * time.Second
		case key == "after":
			f.after, err = strconv.ParseUint(value, 10, 64)
		case key == "limit":
			f.limit, err = strconv.Atoi(value)
			if err == nil && (f.limit < 1 || f.limit > maxSessions) {
				return f, fail(http.StatusBadRequest, "limit must be 1 to %d", maxSessions)
			}
		default:
			return f, fail(http.StatusBadRequest, "there is no parameter %q", key)
		}
		if err != nil {
			return f, fail(http.StatusBadRequest, "%s must be a number", key)
		}
	}
	return f, nil
}

// selects reports whether f has a session.
func (f *sessionFilter) selects(d *sessionDocument) bool {
	is := func(want *string, value string) bool { return want == nil || *want == value }
	return is(f.user, d.User) && is(f.mode, d.Mode) && is(f.stage, d.Stage) && is(f.upstream, d.Upstream) &&
		(f.dc == nil || *f.dc == d.DC) && d.Idle >= seconds(f.idle)
}

// getSessions lists sessions by their number, in pages.
func (s *Server) getSessions(r *http.Request) (answer, error) {
	f, err := filterOf(r.URL.Query())
	if err != nil {
		return answer{}, err
	}
	var open []proxy.Session
	for session := range s.config.Proxy.Sessions() {
		if session.ID() > f.after {
			open = append(open, session)
		}
	}
	slices.SortFunc(open, func(a, b proxy.Session) int { return cmp.Compare(a.ID(), b.ID()) })
	page := struct {
		Sessions []sessionDocument `json:"sessions"`
		Next     uint64            `json:"next,omitempty"` // for after; 0 if there are no more
	}{Sessions: make([]sessionDocument, 0)}
	for _, session := range open {
		report := session.Report()
		d := documentOf(session.ID(), &report)
		if !f.selects(&d) {
			continue
		}
		if len(page.Sessions) == f.limit {
			page.Next = page.Sessions[f.limit-1].ID
			break
		}
		page.Sessions = append(page.Sessions, d)
	}
	return answer{body: page}, nil
}

// session returns the open session of a path.
func (s *Server) session(r *http.Request) (proxy.Session, error) {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err == nil {
		for session := range s.config.Proxy.Sessions() {
			if session.ID() == id {
				return session, nil
			}
		}
	}
	return nil, fail(http.StatusNotFound, "there is no such session, or it has ended")
}

func (s *Server) getSession(r *http.Request) (answer, error) {
	session, err := s.session(r)
	if err != nil {
		return answer{}, err
	}
	report := session.Report()
	return answer{body: documentOf(session.ID(), &report)}, nil
}

func (s *Server) closeSession(r *http.Request) (answer, error) {
	session, err := s.session(r)
	if err == nil {
		session.Close(errClosedByOperator)
	}
	return answer{}, err
}

// closeSessions closes all sessions of a user.
func (s *Server) closeSessions(r *http.Request) (answer, error) {
	query := r.URL.Query()
	if len(query) != 1 || len(query["user"]) != 1 {
		return answer{}, fail(http.StatusBadRequest, "the sessions of one user can be closed: ?user=NAME")
	}
	closed := 0
	for session := range s.config.Proxy.Sessions() {
		if user := session.User(); user != nil && user.Name == query.Get("user") && session.Report().Stage >= proxy.ServerHelloSent {
			session.Close(errClosedByOperator)
			closed++
		}
	}
	return answer{body: map[string]int{"closed": closed}}, nil
}
