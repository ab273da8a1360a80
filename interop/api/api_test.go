// Package api holds the admin API of mtwire proxy to its OpenAPI document, with a
// validator that shares no code with it.
package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/internal/service/admin"
	"github.com/mtwire/mtwire/internal/service/users"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/proxy"
	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"
)

// testbed is a proxy with users that have limits, and its admin API on a Unix socket.
type testbed struct {
	proxy   *proxy.Proxy
	policy  *users.Policy
	address string // of the proxy
	socket  string
	level   slog.LevelVar

	mu          sync.Mutex
	file, added []users.User
	unavailable bool  // the store is, and links are
	reload      error // of Reload
	upgrade     error // of Upgrade
	revision    int
	unstored    bool // networks at run time are in memory only
	lists       map[admin.ListName][]netip.Prefix
}

// start starts a testbed. Without a store there are neither limits nor other users than
// the proxy's.
func start(t *testing.T, withStore bool) *testbed {
	t.Helper()
	dc := mtwiretest.NewDataCenter(nil)
	t.Cleanup(dc.Close)
	secret, err := mtproxy.ParseSecret(mtwiretest.PlainSecret)
	if err != nil {
		t.Fatal(err)
	}
	b := &testbed{lists: make(map[admin.ListName][]netip.Prefix), policy: users.New(users.Config{Log: slog.New(slog.DiscardHandler)}), socket: filepath.Join(t.TempDir(), "a.sock")}
	b.file = []users.User{{Name: "alice", Secrets: []mtproxy.Secret{secret}}}
	config := proxy.Config{
		Users: users.Proxies(b.file), DataCenters: map[datacenter.DC][]string{0: {dc.Addr().String()}, 3: {"127.0.0.1:1"}},
		Log: slog.New(slog.DiscardHandler),
	}
	api := admin.Config{
		Log: slog.New(slog.DiscardHandler), LogLevel: &b.level, Version: "v1", Metrics: http.NotFoundHandler(),
		Ready:         func() error { return nil },
		Lists:         func() admin.Lists { return admin.Lists{Allow: -1} },
		Reload:        b.readAgain,
		Configuration: b.configuration,
		Networks:      b.networks, UpdateNetworks: b.updateNetworks,
		NewSecret: func() (mtproxy.Secret, error) { return mtproxy.NewSecret(nil, mtproxy.Padded, "") },
	}
	if withStore {
		api.Upgrade = func(string) (admin.Upgrade, error) { return admin.Upgrade{From: "v1", PID: 1}, b.upgrade }
		b.policy.Set(b.file)
		config.Policy, api.Users, api.UpdateUsers = b.policy, b.policy, b.update
		api.History, api.Links = b.history, b.links
	}
	if b.proxy, err = proxy.New(config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.proxy.Close)
	api.Proxy = b.proxy
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.address = ln.Addr().String()
	go b.proxy.Serve(context.Background(), ln)
	socket, err := net.Listen("unix", b.socket)
	if err != nil {
		t.Fatal(err)
	}
	server := admin.New(api)
	go server.Serve(socket)
	t.Cleanup(server.Close)
	return b
}

// update is admin.UpdateUsers, in memory.
func (b *testbed) update(change func([]users.User) ([]users.User, error)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.unavailable {
		return fmt.Errorf("%w: the disk is full", admin.ErrUnavailable)
	}
	list, err := change(slices.Clone(b.added))
	if err != nil {
		return err
	}
	all, err := users.Merge(slices.Concat(b.file, list))
	if err != nil {
		return err
	}
	b.policy.Set(all)
	b.added = list
	return b.proxy.SetUsers(users.Proxies(all))
}

// readAgain is admin.Config.Reload.
func (b *testbed) readAgain(permitted func() error) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := permitted(); err != nil {
		return false, err
	}
	if b.reload == nil {
		b.revision++
	}
	return true, b.reload
}

// configuration is admin.Config.Configuration.
func (b *testbed) configuration() admin.Configuration {
	c := admin.Configuration{ETag: fmt.Sprintf(`"r%d"`, b.revision), Since: time.Now()}
	if b.reload != nil {
		c.Last = &admin.LastReload{At: c.Since, Result: "error", Error: b.reload.Error(), Restart: []string{}}
	}
	return c
}

// history is admin.Config.History, with a day of bob's, and of a user that was removed.
func (b *testbed) history(name string) (days []admin.Day, err error) {
	if b.unavailable {
		return nil, errors.New("the disk fails")
	}
	if name == "bob" || name == "removed" {
		days = append(days, admin.Day{Day: 20785, Up: 1, Down: 2})
	}
	return days, nil
}

// links is admin.Config.Links, with the secrets that are in force.
func (b *testbed) links(_ context.Context, name string) (links []admin.Link, notes []string, err error) {
	if b.unavailable {
		return nil, nil, errors.New("no address")
	}
	u, _, _ := b.policy.Usage(name)
	for _, secret := range u.Secrets {
		links = append(links, mtproxy.Link{Server: "192.0.2.1", Port: 443, Secret: secret})
	}
	return links, []string{"the link works here only"}, nil
}

// connect has a client of the proxy receive an answer, and returns its connection.
func (b *testbed) connect(t *testing.T) *mtwire.Conn {
	t.Helper()
	conn, err := mtwire.Dial(t.Context(), "tcp://"+b.address+"?dc=2&secret="+mtwiretest.PlainSecret, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.Send(t.Context(), mtwiretest.AppendReqPQ(nil, [16]byte{1}, nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	return conn
}

// operation is an operation of the document.
type operation struct {
	method, path string
	*v3.Operation
}

// document is the OpenAPI document that the server serves.
type document struct {
	validator.Validator
	operations map[string]operation // by operationId
	seen       map[string]bool      // operationId and status
}

func (b *testbed) document(t *testing.T) *document {
	t.Helper()
	answer, text := b.send(t, "GET", "/v1/openapi", nil, "")
	if answer.StatusCode != 200 {
		t.Fatal(answer.Status)
	}
	parsed, err := libopenapi.NewDocument([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	model, err := parsed.BuildV3Model()
	if err != nil {
		t.Fatal(err)
	}
	v, errs := validator.NewValidator(parsed)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if valid, errs := v.ValidateDocument(); !valid {
		for _, err := range errs {
			t.Errorf("%+v", err)
		}
	}
	d := &document{v, make(map[string]operation), make(map[string]bool)}
	for path, item := range model.Model.Paths.PathItems.FromOldest() {
		for method, op := range item.GetOperations().FromOldest() {
			d.operations[op.OperationId] = operation{strings.ToUpper(method), path, op}
		}
	}
	return d
}

// send sends a request to the API, and returns the answer and its body.
func (b *testbed) send(t *testing.T, method, path string, header map[string]string, body string) (*http.Response, string) {
	t.Helper()
	answer, text, _ := b.exchange(t, method, path, header, body)
	return answer, text
}

func (b *testbed) exchange(t *testing.T, method, path string, header map[string]string, body string) (*http.Response, string, *http.Request) {
	t.Helper()
	newRequest := func() *http.Request {
		r, err := http.NewRequestWithContext(t.Context(), method, "http://127.0.0.1"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if body != "" {
			r.Header.Set("Content-Type", "application/json")
		}
		for key, value := range header {
			r.Header.Set(key, value)
		}
		return r
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", b.socket)
	}}
	defer transport.CloseIdleConnections()
	answer, err := transport.RoundTrip(newRequest())
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body = io.NopCloser(bytes.NewReader(text))
	return answer, string(text), newRequest()
}

// step is a request and the status of its answer.
type step struct {
	operation string // an operationId
	argument  string // for the path's parameter
	query     string
	header    map[string]string
	body      string
	status    int
}

// try sends a step's request, and holds the answer to the document. It returns the
// answer's body and entity tag.
func (d *document) try(t *testing.T, b *testbed, s step) (body, etag string) {
	t.Helper()
	op, known := d.operations[s.operation]
	if !known {
		t.Fatalf("the document has no %s", s.operation)
	}
	path := op.path
	if begin, end := strings.IndexByte(path, '{'), strings.IndexByte(path, '}'); begin >= 0 {
		path = path[:begin] + s.argument + path[end+1:]
	}
	answer, text, request := b.exchange(t, op.method, path+s.query, s.header, s.body)
	if answer.StatusCode != s.status {
		t.Fatalf("%s %s%s %s: %s %s, want %d", op.method, path, s.query, s.body, answer.Status, text, s.status)
	}
	if op.Responses.Codes.GetOrZero(fmt.Sprint(s.status)) == nil {
		t.Errorf("the document does not have status %d of %s", s.status, s.operation)
	}
	d.seen[fmt.Sprint(s.operation, " ", s.status)] = true
	if valid, errs := d.ValidateHttpResponse(request, answer); !valid {
		for _, err := range errs {
			t.Errorf("%s %d: %s: %s %+v\n%s", s.operation, s.status, err.Message, err.Reason, err.SchemaValidationErrors, text)
		}
	}
	if s.status < 300 {
		if valid, errs := d.ValidateHttpRequest(request); !valid {
			for _, err := range errs {
				t.Errorf("%s: the request is not the document's: %s: %s", s.operation, err.Message, err.Reason)
			}
		}
	}
	return text, answer.Header.Get("ETag")
}

// The server and its document are the same: each operation answers with each of its
// statuses, and with no others, and each body has its schema.
func TestServerIsWhatTheDocumentDescribes(t *testing.T) {
	b, plain := start(t, true), start(t, false)
	d := b.document(t)
	for range 3 {
		b.connect(t)
	}
	d.try(t, b, step{operation: "getOpenAPI", status: 200})
	d.try(t, b, step{operation: "getVersion", status: 200})
	d.try(t, b, step{operation: "getStatus", status: 200})
	d.try(t, b, step{operation: "getUpstreams", status: 200})
	d.try(t, b, step{operation: "getDataCenters", status: 200})
	d.try(t, b, step{operation: "getLists", status: 200})
	d.tryReload(t, b)
	d.tryUpgrade(t, b, plain)
	d.tryNetworks(t, b, "Allowed")
	d.tryNetworks(t, b, "Blocked")
	d.tryLogLevel(t, b)
	d.trySessions(t, b)
	d.tryUsers(t, b, plain)

	for id, op := range d.operations {
		for status := range op.Responses.Codes.FromOldest() {
			if !d.seen[id+" "+status] {
				t.Errorf("the server was not seen to answer %s with %s", id, status)
			}
		}
	}
}

// long is a body that is longer than the limit.
var long = `{"note": "` + strings.Repeat("x", 70<<10) + `"}`

// badBodies tries what no operation with a body takes.
func (d *document) badBodies(t *testing.T, b *testbed, operation, argument string) {
	t.Helper()
	d.try(t, b, step{operation: operation, argument: argument, body: `{"nothing": 1}`, status: 400})
	d.try(t, b, step{operation: operation, argument: argument, body: `{} {}`, status: 400})
	d.try(t, b, step{operation: operation, argument: argument, body: long, status: 413})
	d.try(t, b, step{operation: operation, argument: argument, body: `{}`, header: map[string]string{"Content-Type": "text/plain"}, status: 415})
}

func (d *document) tryReload(t *testing.T, b *testbed) {
	t.Helper()
	_, first := d.try(t, b, step{operation: "getReload", status: 200})
	match := map[string]string{"If-Match": first}
	if _, second := d.try(t, b, step{operation: "reload", header: match, status: 200}); second == first {
		t.Error(second)
	}
	d.try(t, b, step{operation: "reload", header: match, status: 412})
	b.reload = fmt.Errorf("%w: another process has taken over", admin.ErrUnavailable)
	d.try(t, b, step{operation: "reload", status: 503})
	b.reload = errors.New("line 1: no secret")
	d.try(t, b, step{operation: "reload", status: 422})
	d.try(t, b, step{operation: "getReload", status: 200})
	d.try(t, b, step{operation: "getStatus", status: 200})
}

func (d *document) tryUpgrade(t *testing.T, b, stopped *testbed) {
	t.Helper()
	d.try(t, b, step{operation: "upgrade", status: 200})
	d.try(t, b, step{operation: "upgrade", body: `{"binary": "/bin/mtwire"}`, status: 200})
	d.badBodies(t, b, "upgrade", "")
	for status, err := range map[int]error{409: admin.ErrNoUpgrade, 422: admin.ErrProgram, 502: errors.New("it has ended")} {
		b.upgrade = err
		d.try(t, b, step{operation: "upgrade", status: status})
	}
	d.try(t, stopped, step{operation: "upgrade", status: 501})
}

func (d *document) tryLogLevel(t *testing.T, b *testbed) {
	t.Helper()
	d.try(t, b, step{operation: "getLogLevel", status: 200})
	if body, _ := d.try(t, b, step{operation: "setLogLevel", body: `{"level": "debug"}`, status: 200}); b.level.Level() != slog.LevelDebug || !strings.Contains(body, "debug") {
		t.Error(body, b.level.Level())
	}
	d.try(t, b, step{operation: "setLogLevel", body: `{"level": "loud"}`, status: 422})
	d.badBodies(t, b, "setLogLevel", "")
}

func (d *document) trySessions(t *testing.T, b *testbed) {
	t.Helper()
	var page struct {
		Sessions []struct{ ID uint64 }
		Next     uint64
	}
	list := func(query string) (ids []uint64) {
		page.Next = 0
		body, _ := d.try(t, b, step{operation: "getSessions", query: query, status: 200})
		if err := json.Unmarshal([]byte(body), &page); err != nil {
			t.Fatal(err)
		}
		for _, s := range page.Sessions {
			ids = append(ids, s.ID)
		}
		return ids
	}
	all := list("")
	if len(all) != 3 || page.Next != 0 || !slices.IsSorted(all) {
		t.Fatal(all, page.Next)
	}
	if first := list("?limit=2"); !slices.Equal(first, all[:2]) || page.Next != all[1] {
		t.Error(first, page.Next)
	}
	if rest := list(fmt.Sprint("?limit=2&after=", all[1])); !slices.Equal(rest, all[2:]) || page.Next != 0 {
		t.Error(rest, page.Next)
	}
	for query, n := range map[string]int{
		"?user=alice": 3, "?user=bob": 0, "?dc=2": 3, "?dc=4": 0, "?mode=dd": 3, "?mode=ee": 0, "?stage=first_byte_down": 3, "?upstream=direct": 3, "?idle=3600": 0,
	} {
		if got := list(query); len(got) != n {
			t.Errorf("%s: %v", query, got)
		}
	}
	for _, query := range []string{"?limit=0", "?limit=1001", "?dc=x", "?after=-1", "?idle=x", "?colour=red"} {
		d.try(t, b, step{operation: "getSessions", query: query, status: 400})
	}
	id := fmt.Sprint(all[0])
	d.try(t, b, step{operation: "getSession", argument: id, status: 200})
	d.try(t, b, step{operation: "closeSession", argument: id, status: 204})
	for len(list("")) > 2 { // it ends in a moment
	}
	d.try(t, b, step{operation: "getSession", argument: id, status: 404})
	d.try(t, b, step{operation: "closeSession", argument: id, status: 404})
	d.try(t, b, step{operation: "closeSessions", status: 400})
	if body, _ := d.try(t, b, step{operation: "closeSessions", query: "?user=alice", status: 200}); body != "{\"closed\":2}\n" {
		t.Error(body)
	}
	for len(list("")) > 0 {
	}
}

// askOn asks for an answer, and waits for it for a time: a client that is not served gets
// none.
func askOn(t *testing.T, conn *mtwire.Conn, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := conn.Send(ctx, mtwiretest.AppendReqPQ(nil, [16]byte{1}, nil)); err != nil {
		return err
	}
	_, err := conn.Receive(ctx)
	return err
}
