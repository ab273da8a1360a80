//go:build unix

package service

import (
	"log/slog"
	"testing"
	"time"
)

// A proxy that waits for the default admin socket is configured again meanwhile. The race
// detector is what fails here.
func TestTheConfigurationChangesWhileTheAdminSocketIsAwaited(t *testing.T) {
	state := shortState(t)
	first := run(t, byDefault(state))
	config := testConfig(t)
	byDefault(state)(&config)
	s, err := New(config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.admin.retry = time.Millisecond
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(t.Context(), t.Context()) }()
	for range 100 {
		if _, err := s.Reconfigure(config); err != nil {
			t.Fatal(err)
		}
	}
	first.cancel()
	if err := first.result(t); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
