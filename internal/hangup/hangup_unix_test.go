//go:build unix

package hangup

import (
	"syscall"
	"testing"
)

// A signal that came before Notify is the first one behind it, once.
func TestAnEarlySignalIsHeld(t *testing.T) {
	notify(held)
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	early := <-held // it has arrived
	held <- early
	received, stop := Notify()
	if got := <-received; got != syscall.SIGHUP {
		t.Error(got)
	}
	if len(held) > 0 {
		t.Error("it is still held")
	}
	stop()
	if _, open := <-received; open {
		t.Error("the channel is open")
	}
}
