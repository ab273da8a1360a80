package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/internal/service/users"
)

// Counters and users outlive a run, and are there for their owner only.
func TestContentsOutliveARun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "store")
	s, source := opened(t, dir, Options{})
	source.add("alice", 3, 4)
	if err := s.Update(func(list []users.User) ([]users.User, error) { return append(list, userList()...), nil }); err != nil {
		t.Fatal(err)
	}
	closed(t, s)
	s, _ = opened(t, dir, Options{})
	if got := up(s.Counters(), "alice"); got != 3 {
		t.Errorf("%d bytes", got)
	}
	if list := s.Users(); len(list) != 2 || !list[0].Equal(&userList()[0]) {
		t.Errorf("%+v", list)
	}
	if status := s.Status(); status.Err != nil || status.Directory != dir || len(status.Damaged) != 0 {
		t.Errorf("%+v", status)
	}
	if names := filesIn(t, dir); !slices.Equal(names, []string{kindUsage, kindUsers}) {
		t.Error(names)
	}
	for _, name := range filesIn(t, dir) {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

// While Run runs, what is counted is on the disk within five seconds, and what does not
// change is not written again.
func TestCountersAreWrittenWithinFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := Open(t.TempDir(), Options{})
		writes := 0
		s.replace = func(dir, name string, b []byte) error {
			writes++
			return replaceFile(dir, name, b)
		}
		source := newCounting(nil)
		ctx, stop := context.WithCancel(t.Context())
		go s.Run(ctx, source)
		for n := range int64(5) {
			source.add("alice", 1, 0)
			time.Sleep(5 * time.Second)
			synctest.Wait()
			b, err := os.ReadFile(filepath.Join(s.dir, kindUsage))
			if err != nil {
				t.Fatal(err)
			}
			payload, err := parseFile(b, kindUsage)
			if err != nil {
				t.Fatal(err)
			}
			u, err := parseUsage(payload)
			if err != nil || up(u.counters, "alice") != n+1 {
				t.Errorf("%+v, %v", u, err)
			}
		}
		before := writes
		time.Sleep(time.Hour)
		synctest.Wait()
		if before > 10 || writes != before {
			t.Errorf("%d writes, and %d without a change", before, writes-before)
		}
		stop()
		closed(t, s)
	})
}

// A change of the users is on the disk when Update returns, and does not happen if it
// fails: by its function, because a name or secret exists twice, or by the disk.
func TestAChangeOfUsersHappensOrNot(t *testing.T) {
	s, _ := opened(t, t.TempDir(), Options{})
	add := func(list ...users.User) error {
		return s.Update(func(all []users.User) ([]users.User, error) { return append(all, list...), nil })
	}
	if err := add(userList()[0]); err != nil {
		t.Fatal(err)
	}
	no := errors.New("no")
	if err := s.Update(func(all []users.User) ([]users.User, error) { all[0].Note = "x"; return nil, no }); err != no {
		t.Error(err)
	}
	var taken *users.TakenError
	if err := add(userList()[0]); !errors.As(err, &taken) {
		t.Error(err)
	}
	s.replace = func(string, string, []byte) error { return errFull }
	if err := add(userList()[1]); !errors.Is(err, ErrUnavailable) || !errors.Is(err, errFull) {
		t.Error(err)
	}
	s.replace = replaceFile
	if list := s.Users(); len(list) != 1 || !list[0].Equal(&userList()[0]) {
		t.Errorf("%+v", list)
	}
	closed(t, s)
	if s, _ = opened(t, s.dir, Options{}); len(s.Users()) != 1 {
		t.Errorf("%+v", s.Users())
	}
}

// A disk that fails is reported, once a minute in the log; counting goes on, and
// everything is written when it works again. What was stored before stays meanwhile.
func TestADiskThatFailsLosesNothing(t *testing.T) {
	var text logText
	now := &clock{date("2026-11-28")}
	dir := t.TempDir()
	s, source := opened(t, dir, Options{Log: text.logger(), Time: now.now})
	source.add("alice", 1, 0)
	flushed(t, s)
	stored, _ := os.ReadFile(filepath.Join(dir, kindUsage))
	s.replace = func(string, string, []byte) error { return errFull }
	since := now.at
	for range 100 {
		source.add("alice", 1, 0)
		if err := s.Flush(); err != errFull {
			t.Fatal(err)
		}
		now.at = now.at.Add(interval)
	}
	if status := s.Status(); status.Err != errFull || !status.Since.Equal(since) || !status.Written.Equal(since) {
		t.Errorf("%+v", status)
	}
	if n := text.count("is not written"); n != 5 {
		t.Errorf("%d warnings in five minutes", n)
	}
	if b, err := os.ReadFile(filepath.Join(dir, kindUsage)); err != nil || string(b) != string(stored) {
		t.Errorf("what was stored is %q now, %v", b, err)
	}
	s.replace = replaceFile
	flushed(t, s)
	if status := s.Status(); status.Err != nil || text.count("is written again") != 1 {
		t.Errorf("%+v", status)
	}
	closed(t, s)
	if s, _ = opened(t, dir, Options{}); up(s.Counters(), "alice") != 101 {
		t.Errorf("%+v", s.Counters())
	}
}

// A damaged file is renamed and reported, the others are used, and the store goes on.
func TestADamagedFileIsSetAside(t *testing.T) {
	for _, kind := range []string{kindUsage, kindUsers} {
		var text logText
		dir := t.TempDir()
		s, source := opened(t, dir, Options{})
		source.add("alice", 9, 0)
		if err := s.Update(func([]users.User) ([]users.User, error) { return userList(), nil }); err != nil {
			t.Fatal(err)
		}
		closed(t, s)
		for n, damage := range []string{"", "mtwire store 1 " + kind, strings.Repeat("x", 1000), string(makeFile(kind, []byte("{")))} {
			write(t, dir, kind, []byte(damage))
			s, _ = opened(t, dir, Options{Log: text.logger()})
			status := s.Status()
			if status.Err != nil || len(status.Damaged) != 1 || !strings.HasPrefix(status.Damaged[0], kind+".damaged") || text.count(status.Damaged[0]) != 1 {
				t.Errorf("%s, damage %d: %+v", kind, n, status)
			}
			if b, err := os.ReadFile(filepath.Join(dir, status.Damaged[0])); err != nil || string(b) != damage {
				t.Errorf("what was set aside is %q, %v", b, err)
			}
			if kind == kindUsers && (up(s.Counters(), "alice") != 9 || len(s.Users()) != 0) || kind == kindUsage && (len(s.Counters()) != 0 || len(s.Users()) != 2) {
				t.Errorf("%s: %+v, %+v", kind, s.Counters(), s.Users())
			}
			closed(t, s)
		}
	}
}

// A file that cannot be read is not replaced: it may be a good one.
func TestAFileThatCannotBeReadIsKept(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(filepath.Join(dir, kindUsage), filepath.Join(dir, kindUsage)); err != nil { // a loop
		if runtime.GOOS == "windows" { // it takes a privilege there
			t.Skip(err)
		}
		t.Fatal(err)
	}
	s, source := opened(t, dir, Options{})
	source.add("alice", 1, 0)
	if err := s.Flush(); err == nil || s.Status().Err == nil {
		t.Error("the file that could not be read was replaced")
	}
	if err := os.Remove(filepath.Join(dir, kindUsage)); err != nil {
		t.Fatal(err)
	}
	write(t, dir, kindUsage, usageFile(users.Counter{Name: "alice", Up: 10}))
	flushed(t, s)
	if got := up(source.Counters(nil), "alice"); got != 11 {
		t.Errorf("%d bytes after both", got)
	}
}

func usageFile(counters ...users.Counter) []byte {
	payload, _ := appendUsage(nil, &usage{counters: counters})
	return makeFile(kindUsage, payload)
}

// A directory that cannot be made or written is reported, and users are counted in
// memory: /sys is one for root as well.
func TestAReadOnlyDirectoryIsReported(t *testing.T) {
	for _, dir := range []string{"/sys", "/sys/mtwire/store"} {
		s, source := opened(t, dir, Options{})
		source.add("alice", 1, 0)
		err := s.Flush()
		if status := s.Status(); err == nil || status.Err == nil || !errors.Is(err, fs.ErrPermission) && !strings.Contains(err.Error(), "read-only") {
			t.Errorf("%s: %v, %+v", dir, err, status)
		}
		if err := s.Update(func(l []users.User) ([]users.User, error) { return l, nil }); !errors.Is(err, ErrUnavailable) {
			t.Error(err)
		}
	}
}

// Of two stores of one directory the second counts in memory, sees what the first one
// writes, and goes on from there when that one has ended. Both counts are kept.
func TestTwoStoresFollowOneAnother(t *testing.T) {
	dir := t.TempDir()
	first, counted := opened(t, dir, Options{})
	counted.add("alice", 100, 0)
	flushed(t, first)
	second, source := opened(t, dir, Options{})
	if status := second.Status(); status.Err != ErrLocked || up(second.Counters(), "alice") != 100 {
		t.Errorf("%+v, %+v", status, second.Counters())
	}
	if err := second.Update(func(l []users.User) ([]users.User, error) { return l, nil }); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	counted.add("alice", 10, 0)
	counted.add("bob", 5, 0)
	source.add("alice", 1, 0)
	if err := second.Flush(); err != ErrLocked {
		t.Error(err)
	}
	closed(t, first)
	for range 2 {
		flushed(t, second)
		if all := source.Counters(nil); up(all, "alice") != 111 || up(all, "bob") != 5 {
			t.Errorf("%+v", all)
		}
	}
	closed(t, second)
	if third, _ := opened(t, dir, Options{}); up(third.Counters(), "alice") != 111 {
		t.Errorf("%+v", third.Counters())
	}
}

// Status waits for no disk: that of a proxy whose disk hangs is in its metrics.
func TestStatusWaitsForNoDisk(t *testing.T) {
	s, source := opened(t, t.TempDir(), Options{})
	hangs, goesOn, flushed := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	s.replace = func(string, string, []byte) error {
		close(hangs)
		<-goesOn
		return errors.New("the disk is gone")
	}
	source.add("alice", 1, 0)
	go func() { flushed <- s.Flush() }()
	<-hangs
	if status := s.Status(); status.Err != nil || status.Directory != s.dir {
		t.Errorf("%+v", status)
	}
	close(goesOn)
	if err := <-flushed; err == nil || s.Status().Err != err {
		t.Errorf("%v, %+v", err, s.Status())
	}
	s.replace = replaceFile
}
