package service

import (
	"log/slog"
	"path/filepath"
	"time"

	"github.com/mtwire/mtwire/internal/replay"
)

// replayDir is the directory of the replay memory's logs in the state directory.
const replayDir = "replay"

// newReplayMemory returns a memory of handshakes that is not kept anywhere yet.
func newReplayMemory(log *slog.Logger) *replay.Memory {
	return replay.New(replay.Options{
		Full: func(reach time.Duration) {
			log.Warn("the memory of handshakes is full: older ones are answered if they are replayed", "remembered", reach.Round(time.Second))
		},
		DiskError: func(err error) { warnNotKept(log, err) },
	})
}

// keepHandshakes has the memory of handshakes kept in the state directory: keep is its Keep, or
// for a check what tells whether that would fail. If the disk is full or read-only, or there is
// no usable directory and none is configured, the memory lasts as long as the process.
func (c *Config) keepHandshakes(keep func(dir string) error, log *slog.Logger) error {
	dir, err := stateDirectory(c.State)
	if dir = filepath.Join(dir, replayDir); err == nil {
		err = keep(dir)
	}
	switch {
	case err == nil && !isMissing(dir):
		err = mayWrite(dir)
	case err != nil && c.State != "" && !isDisk(err):
		return &ConfigError{"state", err}
	}
	if err != nil {
		warnNotKept(log, err)
	}
	return nil
}

func warnNotKept(log *slog.Logger, err error) {
	log.Warn("handshakes are not kept, and are answered if they are replayed after a restart", "error", err)
}
