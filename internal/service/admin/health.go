package admin

import (
	"errors"
	"io"
	"net/http"
)

// health answers /healthz: the process answers requests.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	io.WriteString(w, "ok\n")
}

// ready answers /readyz, with the reason if clients are not served.
func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if err := s.config.Ready(); err != nil {
		if errors.Is(err, errAsking) {
			w.Header().Set("Retry-After", "1") // seconds
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, "not ready: "+err.Error()+"\n")
		return
	}
	io.WriteString(w, "ready\n")
}
