package faults_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/tools/loadgen"
	"github.com/mtwire/mtwire/mtwiretest"
)

// reloaded is a proxy whose configuration file the test changes while it runs. All
// versions of the file have alice, and each has another user, the generation, and other
// values of keys of every kind.
type reloaded struct {
	*operated
	dir  string
	file string
	dcs  []*loadgen.DataCenter
	host *frontingHost
}

func newReloaded(t *testing.T) *reloaded {
	t.Helper()
	dir := t.TempDir()
	r := &reloaded{
		operated: &operated{mode: modes[1], state: filepath.Join(dir, "state")},
		dir:      dir, file: filepath.Join(dir, "mtwire.toml"), host: newFrontingHost(t),
		dcs: []*loadgen.DataCenter{startDataCenter(t, listen(t)), startDataCenter(t, listen(t))},
	}
	r.flags = []string{"--config", r.file, "--state", r.state, "--admin", "unix:" + filepath.Join(dir, "a.sock")}
	r.replace(t, r.version(0))
	return r
}

// version returns the text of a generation. Its number is in the settings and in the users.
func (r *reloaded) version(i int) string {
	return fmt.Sprintf(`probe = false
log_connections = false
domain = 'example.com'
front = ['%s']
dc = ['*=%s']
upstream = ['direct?weight=%d']
dial_timeout = %d
max_unauthenticated = %d
[[user]]
name = 'alice'
secret = '%s'
max_connections = %d
[[user]]
name = 'generation%d'
secret = 'dd%032x'
note = '%s'
`, r.host.address(), r.dcs[i%2].Addr(), i%7+1, 5+i%3, 1000+i, mtwiretest.PlainSecret, 1000+i, i, i+1, strings.Repeat("x", 100*(i%40)))
}

// reload reads the file again, over the API.
func (r *reloaded) reload() error {
	var d struct{}
	return r.request(http.MethodPost, "reload", &d)
}

// replace puts a text in the place of the file, as a careful editor does.
func (r *reloaded) replace(t *testing.T, text string) {
	t.Helper()
	err := os.WriteFile(r.file+".new", []byte(text), 0o600)
	if err == nil {
		err = os.Rename(r.file+".new", r.file)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// generation returns the generation in force, by its users and by its limits. They are of
// two requests, between which it may change, and of a change that may be underway: the
// first is then -1.
func (r *reloaded) generation(t *testing.T) (byUsers, byLimits int) {
	t.Helper()
	var list struct {
		Users []struct {
			Name string `json:"name"`
		} `json:"users"`
	}
	var status struct {
		Limits struct {
			Unauthenticated int `json:"unauthenticated"`
		} `json:"limits"`
	}
	if err := r.get("users", &list); err != nil {
		t.Fatal(err)
	}
	if err := r.get("status", &status); err != nil {
		t.Fatal(err)
	}
	byUsers = -1
	for _, u := range list.Users {
		fmt.Sscanf(u.Name, "generation%d", &byUsers)
	}
	return byUsers, status.Limits.Unauthenticated - 1000
}

// awaitGeneration waits until all of a generation is in force.
func (r *reloaded) awaitGeneration(t *testing.T, i int) {
	t.Helper()
	eventually(t, fmt.Sprintf("generation %d is in force", i), func() bool {
		users, limits := r.generation(t)
		return users == i && limits == i
	})
}

// move has clients of all modes move bytes, and compare them, until stop is called, which
// fails the test if a session has ended.
func (r *reloaded) move(t *testing.T, clients int) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var moving sync.WaitGroup
	for _, m := range modes {
		for range clients {
			c := mustDial(t, m, r.address, 2, nil)
			moving.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					if err := c.Download(testContext(t), 3); err != nil {
						t.Errorf("%s, download %d: %v", m.name, n, err)
						return
					}
					if err := c.Upload(testContext(t), 3); err != nil {
						t.Errorf("%s, upload %d: %v", m.name, n, err)
						return
					}
				}
			})
		}
	}
	return func() { cancel(); moving.Wait() }
}

// A thousand reloads, a hundred in a second as far as the machine can, by SIGHUP and over
// the API, end no session, keep no client out and leave no memory behind. The last version
// of the file is in force at the end.
func TestStormOfReloadsEndsNoSession(t *testing.T) {
	t.Parallel()
	r := newReloaded(t)
	r.start(t)
	stop := r.move(t, 3)
	before := r.collect(t)
	descriptors, _ := r.descriptors()
	ctx, cancel := context.WithCancel(context.Background())
	var others sync.WaitGroup
	others.Go(func() {
		for ctx.Err() == nil {
			if err := tryClient(r.mode, r.address, testTimeout); err != nil {
				t.Errorf("a new client: %v", err)
				return
			}
		}
	})
	const last = 1000
	requests := make(chan struct{}, 4)
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for i := 1; i <= last && !t.Failed(); i++ {
		<-ticker.C
		r.replace(t, r.version(i))
		if i%2 == 0 {
			r.signal(t, syscall.SIGHUP)
			continue
		}
		requests <- struct{}{}
		others.Go(func() {
			defer func() { <-requests }()
			if err := r.reload(); err != nil {
				t.Errorf("reload: %v", err)
			}
		})
	}
	r.signal(t, syscall.SIGHUP)
	cancel()
	others.Wait()
	r.awaitGeneration(t, last)
	stop()
	after := r.collect(t)
	t.Logf("before: %v, after: %v", before, after)
	const slack = 8 << 20
	if after.heap > before.heap+slack || after.stacks > before.stacks+slack {
		t.Errorf("after the storm: %v, and before: %v", after, before)
	}
	r.awaitDescriptors(t, descriptors+16)
}

// A configuration that is written in pieces while it is read, two hundred times, is put
// in force whole or not at all: the pieces end within a value, so that each of them is
// wrong. The proxy keeps what it has, and takes the whole when that is there.
func TestConfigurationIsWrittenWhileItIsRead(t *testing.T) {
	t.Parallel()
	r := newReloaded(t)
	r.start(t)
	stop := r.move(t, 1)
	ctx, cancel := context.WithCancel(context.Background())
	var reading sync.WaitGroup
	reading.Go(func() {
		for ctx.Err() == nil {
			r.reload() // many have an error
		}
	})
	for i := 1; i <= 200 && !t.Failed(); i++ {
		r.writeInPieces(t, r.version(i))
		users, limits := r.generation(t)
		if users > i || limits > i { // each is of a whole file; both are seen while one follows the other
			t.Errorf("generation %d of users, %d of limits, and %d is written", users, limits, i)
		}
		if i%20 == 0 {
			r.awaitGeneration(t, i)
		}
	}
	cancel()
	reading.Wait()
	stop()
	if r.logged(`read the configuration again" users=1`) {
		t.Error("a part of a file was put in force")
	}
}

// writeInPieces writes the file in place, as a careless editor does: it is empty first.
// Every piece but the last ends within a string.
func (r *reloaded) writeInPieces(t *testing.T, text string) {
	t.Helper()
	f, err := os.OpenFile(r.file, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for done := 0; done < len(text); {
		n := min(len(text), done+97)
		for n < len(text) && strings.Count(text[:n], "'")%2 == 0 {
			n++
		}
		if _, err := f.WriteString(text[done:n]); err != nil {
			t.Fatal(err)
		}
		done = n
	}
}
