package service

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/internal/drain"
	"github.com/mtwire/mtwire/mtwiretest"
)

var discard = slog.New(slog.DiscardHandler)

// running is a service that Run runs.
type running struct {
	*Service
	cancel, abort context.CancelFunc
	done          chan error // has the result of Run
	log           logBuffer
}

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBuffer) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// run runs a service, to a loopback data centre. The test ends it.
func run(t *testing.T, change func(*Config)) *running {
	t.Helper()
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	dc := &mtwiretest.DataCenter{Listener: ln}
	go dc.Serve(t.Context())

	config := testConfig(t)
	config.DataCenters = []DataCenterAddress{{0, ln.Addr().String()}}
	if change != nil {
		change(&config)
	}
	r := &running{done: make(chan error, 1)}
	if r.Service, err = New(config, slog.New(slog.NewTextHandler(&r.log, nil))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	if err := r.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	abort, abortNow := context.WithCancel(context.Background())
	r.cancel, r.abort = cancel, abortNow
	t.Cleanup(cancel)
	t.Cleanup(abortNow)
	ended := make(chan struct{})
	go func() {
		r.done <- r.Run(ctx, abort)
		close(ended)
	}()
	t.Cleanup(func() { // before the state directory is removed
		r.Close()
		<-ended
	})
	return r
}

// result returns the result of Run, which must return soon.
func (r *running) result(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.done:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("Run does not return")
		return nil
	}
}

// connect returns the connection of a client that has received resPQ.
func (r *running) connect(t *testing.T) *mtwire.Conn {
	t.Helper()
	conn, err := mtwire.Dial(t.Context(), linksOf(r.Service)[0].String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	receive(t, conn)
	return conn
}

// receive has resPQ come back on conn.
func receive(t *testing.T, conn *mtwire.Conn) {
	t.Helper()
	var nonce [16]byte
	if err := conn.Send(t.Context(), mtwiretest.AppendReqPQ(nil, nonce, nil)); err != nil {
		t.Fatal(err)
	}
	p, err := conn.Receive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := mtwiretest.CheckResPQ(p.Payload, nonce); err != nil {
		t.Fatal(err)
	}
}

// A client of the link gets through to the data centre. When the context ends, Run
// closes idle sessions and returns nil.
func TestServiceServesAndDrains(t *testing.T) {
	path := socketPath(t)
	r := run(t, func(c *Config) { c.Listen = append(c.Listen, ListenAddress{"unix", path}) })
	conn := r.connect(t)
	r.cancel()
	if err := r.result(t); err != nil {
		t.Error(err)
	}
	if _, err := conn.Receive(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("the client receives %v", err)
	}
	for _, address := range r.Addresses() {
		if c, err := net.Dial(address.Network(), address.String()); err == nil {
			c.Close()
			t.Errorf("%v is still listened on", address)
		}
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	if log := r.log.String(); !strings.Contains(log, "msg=stopping open=1") {
		t.Error(log)
	}
}

// The limits that are in force are logged at the start, as a warning if descriptors
// may run out before.
func TestLimitsAreLogged(t *testing.T) {
	for _, test := range []struct {
		unauthenticated, fronted int
		want                     string
	}{
		{0, 0, `level=INFO msg=limits max_unauthenticated=[1-9]\d* max_fronted=[1-9]\d* descriptors=[1-9]\d* max_unauthenticated_per_address=[1-9]\d* max_unauthenticated_rate=0\n`},
		{200, 100, `level=INFO msg=limits max_unauthenticated=200 max_fronted=100 descriptors=\d+ max_unauthenticated_per_address=100 max_unauthenticated_rate=0`},
		{1 << 21, 0, `level=WARN msg="limits that may exceed the descriptors .*" max_unauthenticated=2097152 max_fronted=`},
	} {
		r := run(t, func(c *Config) { c.MaxUnauthenticated, c.MaxFronted = test.unauthenticated, test.fronted })
		r.Close()
		if err := r.result(t); err != nil {
			t.Error(err)
		}
		if log := r.log.String(); !regexp.MustCompile(test.want).MatchString(log) {
			t.Error(log)
		}
	}
}

// sessionsStay has no session end because it is idle, until the end of the test, which may be
// slower than sessions become idle. Call it before run.
func sessionsStay(t *testing.T) {
	t.Helper()
	before := drain.IdleTime
	drain.IdleTime = time.Hour
	t.Cleanup(func() { drain.IdleTime = before })
}

// Draining ends early when abort ends, and after Config.Drain.
func TestDrainIsLimited(t *testing.T) {
	for name, test := range map[string]struct {
		drain time.Duration
		end   func(*running)
	}{
		"abort": {time.Hour, func(r *running) { r.cancel(); r.abort() }},
		"drain": {0, func(r *running) { r.cancel() }},
	} {
		t.Run(name, func(t *testing.T) {
			sessionsStay(t)
			r := run(t, func(c *Config) { c.Drain = test.drain })
			r.connect(t)
			test.end(r)
			if err := r.result(t); err != nil {
				t.Error(err)
			}
			if !strings.Contains(r.log.String(), "stopped before all connections had ended") {
				t.Error(r.log.String())
			}
		})
	}
}

// A listener that fails ends the service with its error.
func TestFailedListenerEndsTheService(t *testing.T) {
	r := run(t, func(c *Config) { c.Listen = append(c.Listen, ListenAddress{"tcp", "127.0.0.1:0"}) })
	r.listeners.list()[0].Close()
	if err := r.result(t); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Run returns %v", err)
	}
	if c, err := net.Dial("tcp", r.Addresses()[1].String()); err == nil {
		c.Close()
		t.Error("the other listener is open")
	}
}

// Close ends Run without an error, and may be called again.
func TestCloseEndsRun(t *testing.T) {
	r := run(t, nil)
	r.connect(t)
	r.Close()
	if err := r.result(t); err != nil {
		t.Error(err)
	}
	r.Close()
}

// Close closes the listeners of a service that Run never ran.
func TestCloseClosesListenersWithoutRun(t *testing.T) {
	path := socketPath(t)
	config := testConfig(t)
	config.Listen = append(config.Listen, ListenAddress{"unix", path})
	s := listening(t, config)
	s.Close()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}
