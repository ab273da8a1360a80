package admin

import (
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/mtwire/mtwire/proxy"
)

// seconds is a duration as the API has it.
func seconds(d time.Duration) float64 { return d.Seconds() }

// instant returns a time as the API has it, nil for the zero time.
func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Round(time.Millisecond)
	return &t
}

type versionDocument struct {
	Version string     `json:"version"`
	Go      string     `json:"go"`
	OS      string     `json:"os"`
	Arch    string     `json:"arch"`
	PID     int        `json:"pid"`
	Started *time.Time `json:"started"`
}

func (s *Server) getVersion(*http.Request) (answer, error) {
	return answer{body: versionDocument{
		s.config.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH, os.Getpid(), instant(s.started),
	}}, nil
}

type statusDocument struct {
	Ready    bool   `json:"ready"`
	NotReady string `json:"not_ready,omitempty"` // the reason

	Open            int64            `json:"open"`
	Relaying        int64            `json:"relaying"`
	Unauthenticated int64            `json:"unauthenticated"`
	Fronted         int64            `json:"fronted"`
	Stages          map[string]int64 `json:"stages"`

	Accepted      int64 `json:"accepted"`
	Authenticated int64 `json:"authenticated"`
	Refused       int64 `json:"refused"`
	Evicted       int64 `json:"evicted"`
	Up            int64 `json:"up"`
	Down          int64 `json:"down"`

	Users  int            `json:"users"`
	Limits limitsDocument `json:"limits"`
	Store  *Store         `json:"store"` // null if nothing is kept

	Configuration Configuration `json:"configuration"`
}

type limitsDocument struct {
	Unauthenticated int     `json:"unauthenticated"`
	PerAddress      int     `json:"unauthenticated_per_address"`
	Rate            float64 `json:"unauthenticated_rate"` // connections in a second; 0: no limit
	Fronted         int     `json:"fronted"`
	Descriptors     int     `json:"descriptors"`
}

// Store is the state of what is kept across restarts.
type Store struct {
	Directory string     `json:"directory"`
	Failing   string     `json:"failing,omitempty"` // why nothing is written now
	Since     *time.Time `json:"since,omitempty"`   // when that began
	Written   *time.Time `json:"written"`           // when the counters were; null for never
	Damaged   []string   `json:"damaged,omitempty"` // files that were set aside
}

// stageName returns a stage as in the labels of metrics.
func stageName(stage proxy.Stage) string { return strings.ReplaceAll(stage.String(), " ", "_") }

func (s *Server) getStatus(*http.Request) (answer, error) {
	p := s.config.Proxy
	stats, limits := p.Stats(), p.Limits()
	d := statusDocument{
		Ready: true, Open: stats.Open, Relaying: stats.Relaying, Unauthenticated: stats.Pending, Fronted: stats.Fronted,
		Stages: make(map[string]int64), Accepted: stats.Accepted, Authenticated: stats.Authenticated,
		Refused: stats.Refused, Evicted: stats.Evicted, Up: stats.Up, Down: stats.Down, Users: len(p.Users()),
		Limits: limitsDocument{limits.Unauthenticated, limits.PerAddress, s.rate(), limits.Fronted, limits.Descriptors},
	}
	d.Configuration = s.config.Configuration()
	if s.config.Store != nil {
		d.Store = s.config.Store()
	}
	for stage, n := range stats.Stages {
		d.Stages[stageName(proxy.Stage(stage))] = n
	}
	if err := s.config.Ready(); err != nil {
		d.Ready, d.NotReady = false, err.Error()
	}
	return answer{body: d}, nil
}

type levelDocument struct {
	Level string `json:"level"`
}

func levelOf(v *slog.LevelVar) levelDocument {
	return levelDocument{strings.ToLower(v.Level().String())}
}

var errNoLevel = &apiError{http.StatusNotImplemented, "the log has no level that can be changed"}

func (s *Server) getLogLevel(*http.Request) (answer, error) {
	if s.config.LogLevel == nil {
		return answer{}, errNoLevel
	}
	return answer{body: levelOf(s.config.LogLevel)}, nil
}

var logLevels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

func (s *Server) putLogLevel(r *http.Request) (answer, error) {
	if s.config.LogLevel == nil {
		return answer{}, errNoLevel
	}
	var d levelDocument
	if err := decode(r, &d); err != nil {
		return answer{}, err
	}
	level, known := logLevels[d.Level]
	if !known {
		return answer{}, fail(http.StatusUnprocessableEntity, "level must be debug, info, warn or error")
	}
	s.config.LogLevel.Set(level)
	s.config.Log.Log(r.Context(), max(level, slog.LevelInfo), "the level of the log was set", "level", d.Level)
	return answer{body: levelOf(s.config.LogLevel)}, nil
}

type dataCenterDocument struct {
	DC       int        `json:"dc"`
	State    string     `json:"state"`
	Cause    string     `json:"cause,omitempty"`
	Since    *time.Time `json:"since,omitempty"`
	Sessions int        `json:"failed_sessions"`
	Heard    *time.Time `json:"last_byte,omitempty"`
}

func (s *Server) getDataCenters(*http.Request) (answer, error) {
	list := make([]dataCenterDocument, 0)
	for _, dc := range s.config.Proxy.DataCenters() {
		d := dataCenterDocument{int(dc.DC), dc.State.String(), "", instant(dc.Since), dc.Sessions, instant(dc.Heard)}
		if dc.Cause != nil {
			d.Cause = dc.Cause.Error()
		}
		list = append(list, d)
	}
	return answer{body: map[string]any{"data_centers": list}}, nil
}

type upstreamDocument struct {
	Upstream   string `json:"upstream"`
	Weight     int    `json:"weight"`
	Failing    bool   `json:"failing"`
	PaddedOnly bool   `json:"padded_only"`
}

func (s *Server) getUpstreams(*http.Request) (answer, error) {
	list := make([]upstreamDocument, 0)
	for _, u := range s.config.Proxy.Upstreams() {
		list = append(list, upstreamDocument(u))
	}
	return answer{body: map[string]any{"upstreams": list}}, nil
}

// Lists is the lists of networks that clients may, or may not, connect from.
type Lists struct {
	// Allow is the number of networks of the allow list, -1 if there is none, and Block
	// that of the block list.
	Allow int `json:"allow"`
	Block int `json:"block"`
	// AllowAdded and BlockAdded are the numbers of networks that are allowed, and blocked,
	// at run time, beside Allow and Block.
	AllowAdded int `json:"allow_added"`
	BlockAdded int `json:"block_added"`
	// NotAllowed and Blocked are how many clients they have refused.
	NotAllowed int64 `json:"not_allowed"`
	Blocked    int64 `json:"blocked"`
}

func (s *Server) getLists(*http.Request) (answer, error) {
	return answer{body: s.config.Lists()}, nil
}

// rate returns Config.Rate's result.
func (s *Server) rate() float64 {
	if s.config.Rate == nil {
		return 0
	}
	return s.config.Rate()
}
