package service

import (
	"log/slog"
	"path/filepath"
	"time"

	"github.com/mtwire/mtwire/internal/replay"
)

// replayDir is the directory of the replay memory's logs in the state directory.
const replayDir = "replay"

// openReplayMemory returns the memory of handshakes in the state directory. Without
// a usable directory, and if none is configured, the memory lasts as long as the
// process.
func (c *Config) openReplayMemory(log *slog.Logger) (*replay.Memory, error) {
	options := replay.Options{
		Full: func(reach time.Duration) {
			log.Warn("the memory of handshakes is full: older ones are answered if they are replayed", "remembered", reach.Round(time.Second))
		},
		DiskError: func(err error) {
			log.Warn("handshakes are not kept, and are answered if they are replayed after a restart", "error", err)
		},
	}
	dir, err := stateDirectory(c.State)
	if err == nil {
		var memory *replay.Memory
		if memory, err = replay.Open(filepath.Join(dir, replayDir), options); err == nil {
			return memory, nil
		}
	}
	if c.State != "" {
		return nil, &ConfigError{"state", err}
	}
	options.DiskError(err)
	return replay.New(options), nil
}
