package store

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/service/users"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperEnv); dir != "" {
		helper(dir)
		return
	}
	os.Exit(m.Run())
}

// counting is a Source.
type counting struct {
	mu  sync.Mutex
	all map[string]users.Counter
}

// newCounting returns a source that goes on from what was read.
func newCounting(counters []users.Counter) *counting {
	c := &counting{all: make(map[string]users.Counter)}
	for _, counter := range counters {
		c.all[counter.Name] = counter
	}
	return c
}

func (c *counting) Counters(counters []users.Counter) []users.Counter {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.AppendSeq(counters, maps.Values(c.all))
}

func (c *counting) Merge(from, to []users.Counter) {
	p := users.New(users.Config{Counters: c.Counters(nil)})
	p.Merge(from, to)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, counter := range p.Counters(nil) {
		c.all[counter.Name] = counter
	}
}

// add counts bytes of a user.
func (c *counting) add(name string, up, down int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	counter := c.all[name]
	counter.Name = name
	counter.Up, counter.Down = counter.Up+up, counter.Down+down
	c.all[name] = counter
}

// remove drops the usage of a user.
func (c *counting) remove(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.all, name)
}

// up returns a user's bytes up among counters.
func up(counters []users.Counter, name string) int64 {
	for _, c := range counters {
		if c.Name == name {
			return c.Up
		}
	}
	return 0
}

// opened returns a store and its source, which counts on.
func opened(t *testing.T, dir string, options Options) (*Store, *counting) {
	t.Helper()
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	s := Open(dir, options)
	t.Cleanup(func() { s.Close() })
	source := newCounting(s.Counters())
	s.Begin(source)
	return s, source
}

// flushed writes, which must succeed.
func flushed(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
}

// closed closes s, which must succeed.
func closed(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// filesIn returns the names of the files in dir but the lock.
func filesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.Name() != "lock" {
			names = append(names, entry.Name())
		}
	}
	return names
}

// write writes a file of a test.
func write(t *testing.T, dir, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// logText is a log as text.
type logText struct {
	mu sync.Mutex
	strings.Builder
}

func (l *logText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Builder.Write(b)
}

func (l *logText) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// count returns how many lines contain what.
func (l *logText) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.String(), what)
}

// clock is a wall clock that a test sets.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func date(text string) time.Time {
	at, err := time.Parse(time.DateOnly, text)
	if err != nil {
		panic(err)
	}
	return at
}

var errFull = fmt.Errorf("write: %w", errors.New("the disk is full, says the test"))
