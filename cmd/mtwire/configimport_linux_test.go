package main

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A disk without room for the file is left without a part of it, and the next attempt succeeds.
func TestAFileForWhichThereIsNoRoomIsNotLeft(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("config", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	path := filepath.Join(dir, "mtwire.toml")
	if err := writeSecretFile(path, make([]byte, 1<<20)); !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a part of the file is left")
	}
	if err := writeSecretFile(path, []byte("drain = 1\n")); err != nil {
		t.Error(err)
	}
}
