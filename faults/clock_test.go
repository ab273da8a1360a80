package faults_test

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/mtwiretest"
)

var ee = modes[2]

// "Clock steps", the client's: within the window it is served, outside it sees
// the fronting host, and connections that stand do not notice.
func TestClientsWhoseClockStepsAreFronted(t *testing.T) {
	w := newWorld(t, ee, nil)
	var off atomic.Int64
	config := &mtwire.DialConfig{Time: func() time.Time { return time.Now().Add(time.Duration(off.Load())) }}
	standing := mustDial(t, ee, w.address, 2, config)
	for _, step := range []time.Duration{time.Hour, -time.Hour, 24 * 365 * time.Hour, 3 * time.Minute, -3 * time.Minute} {
		off.Store(int64(step))
		visits := w.host.visits()
		if c, err := dial(limited(t), ee, w.address, 2, config); err == nil {
			c.Close()
			t.Errorf("%v off: it was served", step)
		}
		if w.host.visits() == visits {
			t.Errorf("%v off: the fronting host was not asked", step)
		}
		exchange(t, standing, 3)
	}
	for _, step := range []time.Duration{0, 100 * time.Second, -100 * time.Second} {
		off.Store(int64(step))
		exchange(t, mustDial(t, ee, w.address, 2, config), 3)
	}
}

// "Clock steps", the server's, at the place where the proxy has its handshake
// from: clients are strangers while it is wrong, and welcome again when it is
// right. Connections that stand go on, and a hello that was recorded before
// stays known.
func TestServerWhoseClockStepsTakesClientsAgain(t *testing.T) {
	leavesNothing(t)
	secret, err := mtwire.ParseSecret(mtwiretest.FakeTLSSecret)
	if err != nil {
		t.Fatal(err)
	}
	var off atomic.Int64
	seen := make(map[[16]byte]bool)
	refused := make(chan error, 10)
	ln := mtwire.NewListener(listen(t), &mtwire.ListenConfig{
		Secrets: []mtwire.Secret{secret},
		Time:    func() time.Time { return time.Now().Add(time.Duration(off.Load())) },
		Replay: func(id [16]byte) bool { // one client at a time
			was := seen[id]
			seen[id] = true
			return was
		},
		Unknown: func(ctx context.Context, conn net.Conn, why error) { refused <- why },
	})
	untilTheEnd(t, func(ctx context.Context) error { return ln.Serve(ctx, mtwiretest.Echo) })

	url := "tcp://" + ln.Addr().String() + "?secret=" + mtwiretest.FakeTLSSecret
	var recorded []byte
	standing, err := mtwire.Dial(limited(t), url, over(func(conn *net.TCPConn) net.Conn { return &recorder{conn, &recorded} }))
	if err != nil {
		t.Fatal(err)
	}
	defer standing.Close()
	echo := func(conn *mtwire.Conn) error {
		if err := conn.Send(limited(t), make([]byte, 88)); err != nil {
			return err
		}
		_, err := conn.Receive(limited(t))
		return err
	}
	for _, step := range []time.Duration{time.Hour, 0, -time.Hour, 0} {
		off.Store(int64(step))
		conn, err := mtwire.Dial(limited(t), url, nil)
		if err == nil {
			err = echo(conn)
			conn.Close()
		}
		if (err == nil) != (step == 0) {
			t.Errorf("a clock %v off: %v", step, err)
		}
		if step != 0 {
			<-refused
		}
		if err := echo(standing); err != nil {
			t.Errorf("a clock %v off, and who was there: %v", step, err)
		}
	}
	again, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	again.Write(recorded)
	if n, err := io.Copy(io.Discard, again); n > 0 {
		t.Errorf("a recorded hello was answered with %d bytes, %v", n, err)
	}
	if why := <-refused; why == nil {
		t.Error("nobody refused it")
	}
}

// recorder keeps what is written first.
type recorder struct {
	*net.TCPConn
	first *[]byte
}

func (r *recorder) Write(b []byte) (int, error) {
	if *r.first == nil {
		*r.first = append([]byte(nil), b...)
	}
	return r.TCPConn.Write(b)
}
