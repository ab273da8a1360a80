package process

import (
	"context"
	"io"
	"os"
	"testing"
	"time"
)

// The end of a command's context kills its process and all children of that.
func TestCancelledCommandLeavesNoChild(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	// The second process holds the pipe open until it is killed.
	cmd := Command(ctx, "sh", "-c", "sleep 1000 & echo started; wait")
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	cmd.Stdout = write
	done := make(chan error, 1)
	go func() {
		done <- Run(cmd)
		write.Close()
	}()
	if _, err := read.Read(make([]byte, 64)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("a killed process succeeded")
	}
	read.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadAll(read); err != nil {
		t.Errorf("a child is still running: %v", err)
	}
}
