package service

import (
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/mtwire/mtwire/internal/service/admin"
)

// reloads is the revision of the configuration in force, and the result of the last
// reload. Its methods may be called concurrently.
type reloads struct {
	process string // of the revisions of this process, which no other one has

	mu       sync.Mutex
	revision int
	since    time.Time
	last     *admin.LastReload // nil if there was none; it does not change
}

// begin makes the configuration that the process has begun with the first revision.
func (r *reloads) begin() {
	r.process, r.revision, r.since = rand.Text()[:12], 1, wallClock()
}

// note notes the result of a reload. One that has succeeded has put another revision in
// force.
func (r *reloads) note(restart []string, err error) {
	last := &admin.LastReload{At: wallClock().UTC(), Result: "success", Restart: append([]string{}, restart...)}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = last
	if err != nil {
		last.Result, last.Error = "error", err.Error()
		return
	}
	r.revision++
	r.since = last.At
}

// document is admin.Config.Configuration.
func (r *reloads) document() admin.Configuration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return admin.Configuration{ETag: fmt.Sprintf(`"%s-%d"`, r.process, r.revision), Since: r.since.UTC(), Last: r.last}
}
