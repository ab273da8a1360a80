package admin

import (
	"errors"
	"net/http"
	"time"
)

// Configuration is the configuration in force, and what the last reload has come to.
type Configuration struct {
	// ETag is another one after each reload that has succeeded, and in each process.
	ETag  string      `json:"etag"`
	Since time.Time   `json:"since"` // when it came into force
	Last  *LastReload `json:"last"`  // nil if there was none
}

// LastReload is the result of a reload: by the API, by SIGHUP, or of a file that has changed.
type LastReload struct {
	At     time.Time `json:"at"`
	Result string    `json:"result"` // success or error
	// Error has a line for each error, with its position in a file if it has one.
	Error string `json:"error,omitempty"`
	// Restart has the keys that have changed and take effect with a restart.
	Restart []string `json:"restart"`
}

func (s *Server) getReload(*http.Request) (answer, error) {
	return answerConfiguration(s.config.Configuration()), nil
}

// answerConfiguration answers with a configuration. Its tag is what If-Match is compared
// with. A reload that has failed changes the document and not the tag, so that
// If-None-Match cannot be.
func answerConfiguration(c Configuration) answer {
	return answer{body: c, etag: c.ETag, unconditional: true}
}

// reload reads the configuration again. The request may have If-Match.
func (s *Server) reload(r *http.Request) (answer, error) {
	reloaded, err := s.config.Reload(func() error { return checkMatch(r, s.config.Configuration().ETag) })
	var refused *apiError
	switch {
	case errors.As(err, &refused):
		return answer{}, err
	case errors.Is(err, ErrUnavailable):
		return answer{}, fail(http.StatusServiceUnavailable, "%v", err)
	case err != nil:
		return answer{}, fail(http.StatusUnprocessableEntity, "nothing has changed: %v", err)
	}
	c := s.config.Configuration()
	a := answerConfiguration(c)
	a.body = struct {
		Reloaded bool `json:"reloaded"`
		Configuration
	}{reloaded, c}
	return a, nil
}
