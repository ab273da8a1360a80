package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Client sends requests to the API of a Server. Its methods may be called concurrently.
type Client struct {
	transport http.RoundTripper
	base      string // of the URLs of requests
	token     string // "" for none
}

// localBase is the base of a server of this machine, which has no name.
const localBase = "http://localhost"

// NewClient returns a client of the server that listens on a Unix socket.
func NewClient(socket string) *Client {
	return &Client{base: localBase, transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
}

// LocalClient returns a client of a server in this process, which needs no listener. The
// server answers it as it does over a Unix socket.
func LocalClient(s *Server) *Client { return &Client{transport: local{s}, base: localBase} }

// local sends requests to a server in this process.
type local struct{ server *Server }

func (l local) RoundTrip(r *http.Request) (*http.Response, error) {
	w := &bufferedAnswer{header: make(http.Header)}
	(&guard{next: http.HandlerFunc(l.server.route)}).ServeHTTP(w, r)
	return &http.Response{
		StatusCode: w.status, Header: w.header, Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()), Request: r,
	}, nil
}

// bufferedAnswer is a ResponseWriter that keeps the answer.
type bufferedAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *bufferedAnswer) Header() http.Header { return w.header }

func (w *bufferedAnswer) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *bufferedAnswer) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}

// Problem is an error that a server has answered.
type Problem struct {
	Status int
	Detail string
}

func (p *Problem) Error() string { return p.Detail }

// IsProblem reports whether err is a Problem with a status.
func IsProblem(err error, status int) bool {
	var p *Problem
	return errors.As(err, &p) && p.Status == status
}

// Answer is what a server has answered: a document of the API, and its entity tag, "" for
// none.
type Answer struct {
	Document json.RawMessage // nil if there is none
	ETag     string
}

const (
	// requestTimeout limits a request. Links may wait for a STUN server, and a change for
	// a slow disk.
	requestTimeout = 30 * time.Second
	// maxAnswer limits the length of an answer, in bytes.
	maxAnswer = 64 << 20
)

// Do sends a request. body is sent as JSON, unless it is nil. ifMatch is the entity tag
// that what is changed must have, "" for any. The error is a *Problem if the server has
// refused the request.
func (c *Client) Do(ctx context.Context, method, path string, body any, ifMatch string) (answer Answer, err error) {
	return c.do(ctx, requestTimeout, method, path, body, ifMatch)
}

// Upgrade has another process take the place of the proxy, and returns the result when it
// has. program is the absolute path of the new program, "" for that of the proxy.
func (c *Client) Upgrade(ctx context.Context, program string) (result Upgrade, answer Answer, err error) {
	if answer, err = c.do(ctx, upgradeTimeout, http.MethodPost, "/v1/upgrade", upgradeRequest{program}, ""); err == nil {
		err = json.Unmarshal(answer.Document, &result)
	}
	return result, answer, err
}

func (c *Client) do(ctx context.Context, limit time.Duration, method, path string, body any, ifMatch string) (answer Answer, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var text []byte
	if body != nil {
		if text, err = json.Marshal(body); err != nil {
			return answer, err
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(text))
	if err != nil {
		return answer, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	if ifMatch != "" {
		r.Header.Set("If-Match", ifMatch)
	}
	response, err := c.transport.RoundTrip(r)
	if errors.Is(err, context.DeadlineExceeded) {
		return answer, fmt.Errorf("the proxy has not answered in time, and may have done what was asked: %w", err)
	}
	if err != nil {
		return answer, err
	}
	defer response.Body.Close()
	answer.ETag = response.Header.Get("ETag")
	text, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	switch {
	case err != nil:
		return answer, fmt.Errorf("the answer has not come: %w", err)
	case response.StatusCode >= http.StatusMultipleChoices:
		return answer, problemFrom(response.StatusCode, text)
	case len(text) > 0:
		answer.Document = text
	}
	return answer, nil
}

// problemFrom returns the Problem that an answer has.
func problemFrom(status int, text []byte) error {
	var d problemDocument
	if json.Unmarshal(text, &d) != nil || d.Detail == "" {
		d.Detail = fmt.Sprintf("the server has answered %d %s: is it a proxy of another version?", status, http.StatusText(status))
	}
	return &Problem{status, d.Detail}
}

// UserPath returns the path of a user, with what follows it.
func UserPath(name string, rest ...string) string {
	return "/v1/users/" + strings.Join(append([]string{url.PathEscape(name)}, rest...), "/")
}

// UserItem is a user with its usage, as the API lists it.
type UserItem struct {
	userDocument
	Usage usageDocument `json:"usage"`
}

// Users returns all users by name.
func (c *Client) Users(ctx context.Context) ([]UserItem, error) { return listUsers[UserItem](ctx, c) }

// UsersDocument returns all users by name, as one document of the API.
func (c *Client) UsersDocument(ctx context.Context) (json.RawMessage, error) {
	items, err := listUsers[json.RawMessage](ctx, c)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	err = newEncoder(&text).Encode(map[string]any{"users": append([]json.RawMessage{}, items...)})
	return text.Bytes(), err
}

// listUsers returns all users by name, each as a T.
func listUsers[T any](ctx context.Context, c *Client) (all []T, err error) {
	for after := ""; ; {
		answer, err := c.Do(ctx, http.MethodGet, fmt.Sprintf("/v1/users?limit=%d&after=%s", maxSessions, url.QueryEscape(after)), nil, "")
		if err != nil {
			return nil, err
		}
		var page struct {
			Users []T    `json:"users"`
			Next  string `json:"next"`
		}
		if err := json.Unmarshal(answer.Document, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Users...)
		if after = page.Next; after == "" {
			return all, nil
		}
	}
}

// User returns a user with its usage.
func (c *Client) User(ctx context.Context, name string) (item UserItem, user, usage Answer, err error) {
	if user, err = c.Do(ctx, http.MethodGet, UserPath(name), nil, ""); err != nil {
		return item, user, usage, err
	}
	if usage, err = c.Do(ctx, http.MethodGet, UserPath(name, "usage"), nil, ""); err != nil {
		return item, user, usage, err
	}
	return item, user, usage, errors.Join(json.Unmarshal(user.Document, &item.userDocument), json.Unmarshal(usage.Document, &item.Usage))
}
