package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// An interrupt ends the compilers of a build as well.
func TestInterruptedBuildLeavesNoCompiler(t *testing.T) {
	bin := t.TempDir()
	fifo := filepath.Join(bin, "open-in-all-of-them")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\nexec 3>" + fifo + "\nsleep 600 &\necho compiling >&3\nwait\n"
	if err := os.WriteFile(filepath.Join(bin, "go"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	ctx, interrupt := context.WithCancel(t.Context())
	built := make(chan error, 1)
	go func() { built <- build(ctx, bin, "binary", "./package") }()
	running, err := os.Open(fifo)
	if err != nil {
		t.Fatal(err)
	}
	defer running.Close()
	running.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadFull(running, make([]byte, len("compiling\n"))); err != nil {
		t.Fatal(err)
	}
	interrupt()
	if err := <-built; err == nil {
		t.Error("the interrupted build succeeded")
	}
	if _, err := running.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("a process of the build is still running: %v", err)
	}
}
