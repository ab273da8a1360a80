package admin

import (
	"encoding/json"
	"net/http"
)

// problemType is the media type of errors.
//
// Specification: https://www.rfc-editor.org/rfc/rfc9457
const problemType = "application/problem+json"

// problemDocument is an error as its client gets it.
type problemDocument struct {
	Title  string `json:"title"` // the text of the status
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

// problem answers with an error.
func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(problemDocument{http.StatusText(status), status, detail})
}

// route calls the handler of a request. What package http answers itself, for a path
// that does not exist or a method that is not allowed, is a problem document.
func (s *Server) route(w http.ResponseWriter, r *http.Request) {
	handler, pattern := s.mux.Handler(r)
	if pattern != "" {
		s.mux.ServeHTTP(w, r)
		return
	}
	answer := &statusOnly{header: make(http.Header)}
	handler.ServeHTTP(answer, r)
	switch answer.status {
	case http.StatusMethodNotAllowed:
		w.Header()["Allow"] = answer.header["Allow"]
		problem(w, answer.status, r.Method+" is not possible here")
	default:
		problem(w, http.StatusNotFound, "there is nothing at this path")
	}
}

// statusOnly is a ResponseWriter that keeps the status and the header.
type statusOnly struct {
	header http.Header
	status int
}

func (w *statusOnly) Header() http.Header         { return w.header }
func (w *statusOnly) Write(b []byte) (int, error) { return len(b), nil }
func (w *statusOnly) WriteHeader(status int)      { w.status = status }
