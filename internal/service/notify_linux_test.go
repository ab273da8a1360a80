package service

import (
	"bytes"
	"log/slog"
	"net"
	"testing"
	"time"
)

// A manager that takes no messages holds up neither an upgrade nor the end of the process.
func TestManagerThatTakesNothingIsNotAwaited(t *testing.T) {
	path := socketPath(t)
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close() // which ends what waits
	defer func(before time.Duration) { notifyTime = before }(notifyTime)
	notifyTime = time.Millisecond
	t.Setenv(notifyVariable, path)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var log bytes.Buffer
	s := &Service{log: slog.New(slog.NewTextHandler(&log, nil))}
	failed := make(chan bool, 1)
	go func() {
		for full := 0; full < 10; { // times in a row: a notification may be late although there is room
			log.Reset()
			if s.notify("READY=1"); log.Len() > 0 {
				full++
			} else {
				full = 0
			}
		}
		log.Reset()
		s.notifyWith(listener.(*net.TCPListener), "FDSTORE=1")
		failed <- log.Len() > 0
	}()
	select {
	case ok := <-failed:
		if !ok {
			t.Error("it is not in the log that systemd takes nothing")
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the process waits for systemd")
	}
}
