package admin

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"
)

// openAPI is the description of the API, served at /v1/openapi. A test holds the routes
// to it.
//
//go:embed openapi.yaml
var openAPI []byte

// answer is what a route answers if there is no error.
type answer struct {
	status   int    // 0 means 200
	body     any    // as JSON; nil for none
	etag     string // "" for none
	location string // of what was made, "" for nothing

	unconditional bool // If-None-Match makes no difference
}

// apiError is an error with its status.
type apiError struct {
	status int
	detail string
}

func (e *apiError) Error() string { return e.detail }

func fail(status int, format string, args ...any) error {
	return &apiError{status, fmt.Sprintf(format, args...)}
}

// route is a path of the API with its method.
type route struct {
	pattern string // as of http.ServeMux
	serve   func(*http.Request) (answer, error)
	limit   time.Duration // of the answer; 0 means writeTimeout
}

// routes returns the API's routes, without /v1/openapi.
func (s *Server) routes() []route {
	return []route{
		{pattern: "GET /v1/version", serve: s.getVersion},
		{pattern: "GET /v1/status", serve: s.getStatus},
		{pattern: "GET /v1/reload", serve: s.getReload},
		{pattern: "POST /v1/reload", serve: s.reload},
		{pattern: "POST /v1/upgrade", serve: s.upgrade, limit: upgradeTimeout},
		{pattern: "GET /v1/log-level", serve: s.getLogLevel},
		{pattern: "PUT /v1/log-level", serve: s.putLogLevel},
		{pattern: "GET /v1/data-centers", serve: s.getDataCenters},
		{pattern: "GET /v1/upstreams", serve: s.getUpstreams},
		{pattern: "GET /v1/lists", serve: s.getLists},
		{pattern: "GET /v1/lists/allow", serve: s.getNetworks(AllowList)},
		{pattern: "PUT /v1/lists/allow", serve: s.replaceNetworks(AllowList)},
		{pattern: "POST /v1/lists/allow", serve: s.addNetworks(AllowList)},
		{pattern: "DELETE /v1/lists/allow", serve: s.removeNetwork(AllowList)},
		{pattern: "GET /v1/lists/block", serve: s.getNetworks(BlockList)},
		{pattern: "PUT /v1/lists/block", serve: s.replaceNetworks(BlockList)},
		{pattern: "POST /v1/lists/block", serve: s.addNetworks(BlockList)},
		{pattern: "DELETE /v1/lists/block", serve: s.removeNetwork(BlockList)},
		{pattern: "GET /v1/sessions", serve: s.getSessions},
		{pattern: "DELETE /v1/sessions", serve: s.closeSessions},
		{pattern: "GET /v1/sessions/{id}", serve: s.getSession},
		{pattern: "DELETE /v1/sessions/{id}", serve: s.closeSession},
		{pattern: "GET /v1/users", serve: s.getUsers},
		{pattern: "POST /v1/users", serve: s.createUser},
		{pattern: "GET /v1/users/{name}", serve: s.getUser},
		{pattern: "PUT /v1/users/{name}", serve: s.replaceUser},
		{pattern: "PATCH /v1/users/{name}", serve: s.patchUser},
		{pattern: "DELETE /v1/users/{name}", serve: s.deleteUser},
		{pattern: "GET /v1/users/{name}/usage", serve: s.getUsage},
		{pattern: "GET /v1/users/{name}/history", serve: s.getHistory},
		{pattern: "POST /v1/users/{name}/reset", serve: s.resetUsage},
		{pattern: "GET /v1/users/{name}/secrets", serve: s.getSecrets},
		{pattern: "GET /v1/users/{name}/links", serve: s.getLinks},
		{pattern: "POST /v1/users/{name}/rotate", serve: s.rotateSecret},
	}
}

func (s *Server) addRoutes() {
	for _, route := range s.routes() {
		s.mux.HandleFunc(route.pattern, func(w http.ResponseWriter, r *http.Request) {
			if route.limit > 0 { // an error means that there is no limit: it is in this process
				http.NewResponseController(w).SetWriteDeadline(time.Now().Add(route.limit))
			}
			answer, err := route.serve(r)
			if err != nil {
				s.problemOf(w, err)
				return
			}
			answer.write(w, r)
		})
	}
	s.mux.HandleFunc("GET /v1/openapi", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/yaml")
		w.Write(openAPI)
	})
}

// write sends an answer.
func (a answer) write(w http.ResponseWriter, r *http.Request) {
	if a.etag != "" {
		w.Header().Set("ETag", a.etag)
		if r.Method == http.MethodGet && !a.unconditional && matches(r.Header.Values("If-None-Match"), a.etag) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	if a.location != "" {
		w.Header().Set("Location", a.location)
	}
	if a.body == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(cmp.Or(a.status, http.StatusOK))
	newEncoder(w).Encode(a.body)
}

// newEncoder returns an encoder that leaves & and the like as they are, which are in links:
// the text is not for HTML.
func newEncoder(w io.Writer) *json.Encoder {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder
}

// problemOf answers with an error. One without a status is the server's own, and is
// logged.
func (s *Server) problemOf(w http.ResponseWriter, err error) {
	var known *apiError
	if errors.As(err, &known) {
		problem(w, known.status, known.detail)
		return
	}
	s.config.Log.Error("admin listener", "cause", err)
	problem(w, http.StatusInternalServerError, err.Error())
}

// decode parses the body of a request, which must be one JSON value without keys that v
// does not have.
func decode(r *http.Request, v any) error {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	patch := r.Method == http.MethodPatch && media == "application/merge-patch+json"
	if err != nil || media != "application/json" && !patch {
		return fail(http.StatusUnsupportedMediaType, "the body must be application/json")
	}
	body, err := io.ReadAll(r.Body)
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return fail(http.StatusRequestEntityTooLarge, "the body must not be longer than %d bytes", long.Limit)
	case err != nil:
		return fail(http.StatusBadRequest, "the body has not come: %v", err)
	}
	return unmarshal(body, v)
}

// unmarshal is json.Unmarshal for the body of a request: one object, without keys that v
// does not have, and each key once, in lower case as it is documented. Package json would
// take other spellings, and the last of several.
func unmarshal(body []byte, v any) error {
	if err := checkKeys(body); err != nil {
		return fail(http.StatusBadRequest, "the body is no valid JSON for this path: %v", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		return fail(http.StatusBadRequest, "the body is no valid JSON for this path: %v", withoutValue(err))
	}
	if _, err := decoder.Token(); err != io.EOF {
		return fail(http.StatusBadRequest, "the body has more than one value")
	}
	return nil
}

var errNoObject = errors.New("it must be an object")

// checkKeys returns an error if body does not begin with an object whose keys are in lower
// case and different. What is wrong in other ways is package json's to find.
func checkKeys(body []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(body))
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return errNoObject
	}
	seen := make(map[string]bool)
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return nil
		}
		key, _ := token.(string)
		switch {
		case strings.ContainsFunc(key, func(r rune) bool { return (r < 'a' || r > 'z') && r != '_' }):
			return fmt.Errorf("unknown key %q: keys have lower case letters and underscores", key)
		case seen[key]:
			return fmt.Errorf("the key %q is there twice", key)
		}
		seen[key] = true
		var value json.RawMessage
		if decoder.Decode(&value) != nil {
			return nil
		}
	}
	return nil
}

// withoutValue returns an error of package json without what was decoded, which may be
// a secret.
func withoutValue(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fmt.Errorf("%s must be of type %v", cmp.Or(wrong.Field, "it"), wrong.Type)
	}
	return err
}

// etagOf returns the entity tag of a representation.
func etagOf(body any) (string, error) {
	text, err := json.Marshal(body)
	sum := sha256.Sum256(text)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`, err
}

// matches reports whether one of the tags of If-Match or If-None-Match is etag.
//
// Specification: https://www.rfc-editor.org/rfc/rfc9110#section-13.1.1
func matches(header []string, etag string) bool {
	for _, tag := range strings.Split(strings.Join(header, ","), ",") {
		if tag = strings.TrimSpace(tag); tag == "*" || tag == etag {
			return true
		}
	}
	return false
}

// checkMatch returns an error if the request has If-Match, and etag is another one.
func checkMatch(r *http.Request, etag string) error {
	if header := r.Header.Values("If-Match"); len(header) > 0 && !matches(header, etag) {
		return fail(http.StatusPreconditionFailed, "it has changed since: its entity tag is %s", etag)
	}
	return nil
}
