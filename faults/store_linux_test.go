package faults_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/tools/loadgen"
)

// operated is a proxy with a user, alice, whose usage is kept in a state directory, and
// what an operator sees of it. It is started any number of times.
type operated struct {
	*program
	mode  mode
	state string
	dc    *loadgen.DataCenter
	flags []string
	env   []string
}

// newOperated returns a proxy that does not run. limits are lines of alice's table.
func newOperated(t *testing.T, state, limits string) *operated {
	t.Helper()
	o := &operated{mode: modes[1], state: state, dc: startDataCenter(t, listen(t))}
	path := filepath.Join(t.TempDir(), "mtwire.toml")
	text := fmt.Sprintf("probe = false\nlog_connections = false\n[[user]]\nname = 'alice'\nsecret = '%s'\n%s", o.mode.secret, limits)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	// In the state directory there may be no room for a socket.
	o.flags = []string{"--config", path, "--state", state, "--dc", "*=" + o.dc.Addr().String(), "--admin", "unix:" + filepath.Join(t.TempDir(), "a.sock")}
	return o
}

func (o *operated) start(t *testing.T) {
	t.Helper()
	o.program = startProgramWith(t, o.env, "", fileLimit{}, o.flags...)
}

// stop ends the proxy as an operator does.
func (o *operated) stop(t *testing.T) {
	t.Helper()
	o.signal(t, syscall.SIGTERM)
	if code := o.awaitEnd(t, testTimeout); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// get gets a document of the API. It returns an error if the proxy does not answer.
func (o *operated) get(path string, document any) error {
	return o.request(http.MethodGet, path, document)
}

// request is get for any method.
func (o *operated) request(method, path string, document any) error {
	socket := strings.TrimPrefix(o.flags[slices.Index(o.flags, "--admin")+1], "unix:")
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	r, err := http.NewRequest(method, "http://localhost/v1/"+path, nil)
	if err != nil {
		return err
	}
	answer, err := (&http.Client{Transport: transport, Timeout: testTimeout}).Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != 200 {
		err = fmt.Errorf("%s: %s", answer.Status, body)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(body, document)
}

// storeStatus is what /v1/status has of the store.
type storeStatus struct {
	Failing string    `json:"failing"`
	Written time.Time `json:"written"`
	Damaged []string  `json:"damaged"`
}

func (o *operated) store(t *testing.T) storeStatus {
	t.Helper()
	var d struct {
		Store storeStatus `json:"store"`
	}
	if err := o.get("status", &d); err != nil {
		t.Fatal(err)
	}
	return d.Store
}

// usage is what the API has of alice's usage.
type usage struct {
	Up, Down    int64
	Connections int
	QuotaUsed   int64 `json:"quota_used"`
	Refused     map[string]int64
}

func (o *operated) usage(t *testing.T) (u usage) {
	t.Helper()
	if err := o.get("users/alice/usage", &u); err != nil {
		t.Fatal(err)
	}
	return u
}

// serve has a client of alice served, and all of its bytes counted.
func (o *operated) serve(t *testing.T) {
	t.Helper()
	mustDial(t, o.mode, o.address, 2, nil).Close()
	eventually(t, "the session has ended", func() bool { return o.usage(t).Connections == 0 })
}

// awaitWritten waits until all that is counted is on the disk.
func (o *operated) awaitWritten(t *testing.T) {
	t.Helper()
	now := time.Now()
	eventually(t, "the usage is written", func() bool { s := o.store(t); return s.Failing == "" && s.Written.After(now) })
}

// touch has something to be written.
func (o *operated) touch(t *testing.T) {
	t.Helper()
	o.serve(t)
	o.awaitWritten(t)
}

// A disk that fails while the proxy runs takes nothing from clients: usage is counted in
// memory, the log and the status tell it, and what was stored stays. When the disk works
// again, everything is written.
func TestDiskThatFailsDegradesToMemory(t *testing.T) {
	t.Parallel()
	for name, disk := range map[string]func(t *testing.T, dir string) (fail, mend func() error, err error){
		"full": fullDisk, "a directory in the way": directoryInTheWay,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			fail, mend, err := disk(t, dir)
			if err != nil {
				reportNotRun(t, "a disk that is full", err)
				return
			}
			o := newOperated(t, filepath.Join(dir, "state"), "")
			o.start(t)
			o.touch(t)
			before := o.usage(t)
			if err := fail(); err != nil {
				t.Fatal(err)
			}
			o.serve(t)
			eventually(t, "the status tells it", func() bool { return o.store(t).Failing != "" })
			eventually(t, "the log tells it", func() bool { return o.logged("the store is not written") })
			o.serve(t)
			counted := o.usage(t)
			if counted.Down <= before.Down || counted.Up <= before.Up {
				t.Errorf("%+v after %+v", counted, before)
			}
			if err := mend(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the store is written again", func() bool { return o.store(t).Failing == "" })
			o.stop(t)
			o.start(t)
			if after, s := o.usage(t), o.store(t); after.Down < counted.Down || after.Up < counted.Up || len(s.Damaged) > 0 {
				t.Errorf("%+v after a restart, and %+v before; %+v", after, counted, s)
			}
		})
	}
}

// fullDisk is a small file system.
func fullDisk(t *testing.T, dir string) (fail, mend func() error, err error) {
	if err := syscall.Mount("state", dir, "tmpfs", 0, "size=1m"); err != nil {
		return nil, nil, err
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	filler := filepath.Join(dir, "filler")
	fail = func() error {
		f, err := os.Create(filler)
		if err != nil {
			return err
		}
		defer f.Close()
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			return err
		}
		return nil
	}
	return fail, func() error { return os.Remove(filler) }, nil
}

// directoryInTheWay is a disk on which the file of the usage cannot be made.
func directoryInTheWay(_ *testing.T, dir string) (fail, mend func() error, err error) {
	path := filepath.Join(dir, "state", "store", "usage.new")
	// One that is not empty, or the proxy removes it.
	return func() error { return os.MkdirAll(filepath.Join(path, "full"), 0o700) }, func() error { return os.RemoveAll(path) }, nil
}

// A proxy whose disk is read-only when it starts serves clients with what was stored,
// counts in memory and tells so. Nothing stored is lost.
func TestReadOnlyDiskServesClients(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mount("state", dir, "tmpfs", 0, "size=1m"); err != nil {
		reportNotRun(t, "a disk that is read-only", err)
		return
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	remount := func(flags uintptr) {
		t.Helper()
		if err := syscall.Mount("state", dir, "tmpfs", syscall.MS_REMOUNT|flags, "size=1m"); err != nil {
			t.Fatal(err)
		}
	}
	o := newOperated(t, filepath.Join(dir, "state"), "")
	o.start(t)
	o.serve(t)
	o.stop(t)
	remount(syscall.MS_RDONLY)
	o.start(t)
	stored := o.usage(t)
	if stored.Down == 0 {
		t.Error("what was stored is not there")
	}
	o.serve(t)
	eventually(t, "the status tells it", func() bool { return strings.Contains(o.store(t).Failing, "read-only") })
	eventually(t, "the log tells it", func() bool { return o.logged("the store is not written") })
	if counted := o.usage(t); counted.Down <= stored.Down {
		t.Errorf("%+v after %+v", counted, stored)
	}
	o.stop(t)
	remount(0)
	o.start(t)
	if after, s := o.usage(t), o.store(t); after.Down < stored.Down || len(s.Damaged) > 0 || s.Failing != "" {
		t.Errorf("%+v, %+v", after, s)
	}
}

// Files of the store that are damaged are set aside and reported, whatever the damage is,
// and the proxy starts and counts anew.
func TestDamagedStoreIsSetAside(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(b []byte) []byte{
		"cut":     func(b []byte) []byte { return b[:len(b)/2] },
		"empty":   func([]byte) []byte { return nil },
		"a bit":   func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"zeros":   func(b []byte) []byte { return make([]byte, len(b)) },
		"garbage": func([]byte) []byte { return []byte(strings.Repeat("\xff[}", 1000)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOperated(t, filepath.Join(t.TempDir(), "state"), "")
			o.start(t)
			o.serve(t)
			o.stop(t)
			path := filepath.Join(o.state, "store", "usage")
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			damaged := damage(b)
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			users := filepath.Join(o.state, "store", "users")
			if err := os.WriteFile(users, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			o.start(t)
			s := o.store(t)
			slices.Sort(s.Damaged)
			if !slices.Equal(s.Damaged, []string{"usage.damaged1", "users.damaged1"}) || s.Failing != "" || o.usage(t).Down != 0 {
				t.Errorf("%+v, %+v", s, o.usage(t))
			}
			eventually(t, "the log tells it", func() bool { return o.logged("a file of the store is damaged") })
			if b, err := os.ReadFile(path + ".damaged1"); err != nil || string(b) != string(damaged) {
				t.Errorf("what was set aside: %d bytes, %v", len(b), err)
			}
			o.touch(t)
			counted := o.usage(t)
			o.stop(t)
			o.start(t)
			if after := o.usage(t); after.Down < counted.Down {
				t.Errorf("%+v after %+v", after, counted)
			}
		})
	}
}

// sample is what was counted before some time, and the time of the counters that were
// written last.
type sample struct {
	at      time.Time
	down    int64
	written time.Time
}

// A proxy that is killed between two writes, or within one, fifty times, loses what was
// counted since the last write, of five seconds at most, and nothing else.
func TestKilledProxiesKeepTheUsage(t *testing.T) {
	t.Parallel()
	for i := range 10 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			o := newOperated(t, filepath.Join(memoryDir(t), "state"), "")
			for n := range 5 {
				o.start(t)
				samples := o.sampleUntilKilled(t, time.Duration(3e9+rand.Int64N(4e9)))
				o.start(t)
				after, s := o.usage(t), o.store(t)
				if len(s.Damaged) > 0 || s.Failing != "" {
					t.Errorf("kill %d: %+v", n, s)
				}
				last := samples[len(samples)-1]
				slowest := time.Duration(0) // how late the machine runs things
				for j := 1; j < len(samples); j++ {
					slowest = max(slowest, samples[j].at.Sub(samples[j-1].at))
				}
				for _, before := range samples {
					if before.at.Before(last.written) && after.Down < before.down {
						t.Fatalf("kill %d: %d bytes are there, and %d were counted %v before the last write", n, after.Down, before.down, last.written.Sub(before.at))
					}
				}
				if age := last.at.Sub(last.written); age > 5*time.Second+slowest {
					t.Errorf("kill %d: the last write was %v ago; the machine was late by %v", n, age, slowest)
				}
				o.signal(t, syscall.SIGKILL)
				o.awaitEnd(t, testTimeout)
			}
		})
	}
}

// memoryDir returns a directory of a file system in memory, where there is one: a disk on which
// others write may take seconds for a write of the proxy.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "faults")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// sampleUntilKilled has a client move bytes for a time, and kills the proxy. It returns
// what was counted meanwhile: at least once.
func (o *operated) sampleUntilKilled(t *testing.T, life time.Duration) (samples []sample) {
	t.Helper()
	c := mustDial(t, o.mode, o.address, 2, nil)
	var moving sync.WaitGroup
	moving.Go(func() {
		for c.Echo(context.Background()) == nil {
			time.Sleep(20 * time.Millisecond) // a client that is not in a hurry
		}
	})
	for end := time.Now().Add(life); len(samples) == 0 || time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		down := o.usage(t).Down
		samples = append(samples, sample{at: time.Now(), down: down, written: o.store(t).Written})
		if samples[0].written.IsZero() {
			samples = nil // nothing is written before the first bytes
		}
	}
	o.signal(t, syscall.SIGKILL)
	o.awaitEnd(t, testTimeout)
	c.Close()
	moving.Wait()
	return samples
}
