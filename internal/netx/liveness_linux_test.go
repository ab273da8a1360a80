package netx

import (
	"errors"
	"math"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/loopback"
	"golang.org/x/sys/unix"
)

// options are the settings of a socket as getsockopt returns them. Times are in
// seconds, and the user timeout is in milliseconds.
type options struct{ keepAlive, idle, interval, count, userTimeout int }

func optionsOf(t *testing.T, conn syscall.Conn) (o options) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		for _, option := range []struct {
			value       *int
			level, name int
		}{
			{&o.keepAlive, unix.SOL_SOCKET, unix.SO_KEEPALIVE},
			{&o.idle, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE},
			{&o.interval, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL},
			{&o.count, unix.IPPROTO_TCP, unix.TCP_KEEPCNT},
			{&o.userTimeout, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT},
		} {
			if *option.value, err = unix.GetsockoptInt(int(fd), option.level, option.name); err != nil {
				t.Error(err)
			}
		}
	})
	return o
}

// below is a connection above another.
type below struct{ net.Conn }

func (b below) NetConn() net.Conn { return b.Conn }

// Each field sets its own option and leaves the others unchanged.
func TestSetLivenessSetsTheOptionsOfTheSocket(t *testing.T) {
	for name, test := range map[string]struct {
		Liveness
		change func(*options)
	}{
		"nothing":            {Liveness{}, func(o *options) {}},
		"everything":         {every, func(o *options) { *o = options{1, 60, 10, 3, 60_000} }},
		"no keep-alive":      {Liveness{Idle: -1}, func(o *options) { o.keepAlive = 0 }},
		"idle":               {Liveness{Idle: 2 * time.Hour}, func(o *options) { o.idle = 7200 }},
		"interval":           {Liveness{Interval: time.Second}, func(o *options) { o.interval = 1 }},
		"count":              {Liveness{Count: 127}, func(o *options) { o.count = 127 }},
		"user timeout":       {Liveness{UserTimeout: 1500 * time.Millisecond}, func(o *options) { o.userTimeout = 1500 }},
		"short user timeout": {Liveness{UserTimeout: 1}, func(o *options) { o.userTimeout = 1 }},
		"long user timeout":  {Liveness{UserTimeout: math.MaxInt64}, func(o *options) { o.userTimeout = math.MaxInt32 }},
	} {
		a, b, err := loopback.Pair()
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		defer b.Close()
		if err := a.SetKeepAlive(true); err != nil {
			t.Fatal(err)
		}
		want := optionsOf(t, a)
		test.change(&want)
		if err := SetLiveness(below{below{a}}, test.Liveness); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := optionsOf(t, a); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}

// The kernel ends a connection whose peer acknowledges nothing after UserTimeout.
// The peer's window is full here, so the bytes stay unacknowledged.
func TestUserTimeoutEndsAConnection(t *testing.T) {
	a, b, err := loopback.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	defer b.Close()
	if err := errors.Join(a.SetWriteBuffer(4<<10), b.SetReadBuffer(4<<10)); err != nil {
		t.Fatal(err)
	}
	if err := SetLiveness(a, Liveness{UserTimeout: 100 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	a.SetWriteDeadline(begin.Add(30 * time.Second))
	if _, err := a.Write(make([]byte, 8<<20)); !errors.Is(err, syscall.ETIMEDOUT) {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
}
