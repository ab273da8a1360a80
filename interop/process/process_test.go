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

// The address is that of a whole line, in text or JSON.
func TestAddressOfAListeningServer(t *testing.T) {
	for line, want := range map[string]string{
		"listening on 127.0.0.1:443\n":                                        "127.0.0.1:443",
		"listening on 127.0.0.1:44":                                           "",
		`{"level":"INFO","msg":"listening","address":"127.0.0.1:443"}` + "\n": "127.0.0.1:443",
		`{"level":"INFO","msg":"limits"}` + "\n":                              "",
		"time=now msg=listening\n":                                            "",
	} {
		if address := listenAddress(line); address != want {
			t.Errorf("%q: %q", line, address)
		}
	}
	server, err := StartServer(t.Context(), "sh", "-c", "echo listening on 1.2.3.4:5 >&2")
	if err != nil || server.Address != "1.2.3.4:5" {
		t.Error(err)
	}
}

// The output of a process that takes over is the server's, and Stop ends it, also if the
// process before has ended.
func TestStopEndsSuccessors(t *testing.T) {
	server, err := StartSuccession(t.Context(), "sh", "-c", "(echo listening on 1.2.3.4:5; exec sleep 1000) &")
	if err != nil {
		t.Fatal(err)
	}
	<-server.Ended
	select {
	case <-server.silent:
		t.Error("the successor has ended")
	default:
	}
	server.Stop()
	<-server.silent
	if server.Address != "1.2.3.4:5" {
		t.Errorf("the output is %q", server.Stderr.Text())
	}
	server.Stop() // which has nothing to kill
}
