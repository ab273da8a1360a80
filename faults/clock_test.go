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

// A client whose clock is off by more than the window reaches the fronting host,
// and one within the window is served. Established connections go on.
func TestClientsWithAWrongClockAreFronted(t *testing.T) {
	tb := newTestbed(t, ee, nil)
	var off atomic.Int64
	config := &mtwire.DialConfig{Time: func() time.Time { return time.Now().Add(time.Duration(off.Load())) }}
	established := mustDial(t, ee, tb.address, 2, config)
	for _, step := range []time.Duration{time.Hour, -time.Hour, 24 * 365 * time.Hour, 3 * time.Minute, -3 * time.Minute} {
		off.Store(int64(step))
		visits := tb.host.visits()
		if c, err := dial(testContext(t), ee, tb.address, 2, config); err == nil {
			c.Close()
			t.Errorf("%v off: the client was served", step)
		}
		if tb.host.visits() == visits {
			t.Errorf("%v off: the fronting host got nothing", step)
		}
		exchange(t, established, 3)
	}
	for _, step := range []time.Duration{0, 100 * time.Second, -100 * time.Second} {
		off.Store(int64(step))
		exchange(t, mustDial(t, ee, tb.address, 2, config), 3)
	}
}

// While a server's clock is wrong, clients are not authenticated; when it is
// right again, they are. Established connections go on, and a replayed hello is
// still rejected. The server is a Listener, whose handshake is the proxy's.
func TestServerServesClientsAgainWhenItsClockIsRight(t *testing.T) {
	checkLeaks(t)
	secret, err := mtwire.ParseSecret(mtwiretest.FakeTLSSecret)
	if err != nil {
		t.Fatal(err)
	}
	var off atomic.Int64
	seen := make(map[[16]byte]bool)
	rejected := make(chan error, 10)
	ln := mtwire.NewListener(listen(t), &mtwire.ListenConfig{
		Secrets: []mtwire.Secret{secret},
		Time:    func() time.Time { return time.Now().Add(time.Duration(off.Load())) },
		Replay: func(id [16]byte) bool { // one client at a time
			replayed := seen[id]
			seen[id] = true
			return replayed
		},
		Unauthenticated: func(ctx context.Context, conn net.Conn, why error) { rejected <- why },
	})
	serveUntilCleanup(t, func(ctx context.Context) error { return ln.Serve(ctx, mtwiretest.Echo) })

	url := "tcp://" + ln.Addr().String() + "?secret=" + mtwiretest.FakeTLSSecret
	var recorded []byte
	established, err := mtwire.Dial(testContext(t), url, wrapSocket(func(conn *net.TCPConn) net.Conn { return &recorder{conn, &recorded} }))
	if err != nil {
		t.Fatal(err)
	}
	defer established.Close()
	echo := func(conn *mtwire.Conn) error {
		if err := conn.Send(testContext(t), make([]byte, 88)); err != nil {
			return err
		}
		_, err := conn.Receive(testContext(t))
		return err
	}
	for _, step := range []time.Duration{time.Hour, 0, -time.Hour, 0} {
		off.Store(int64(step))
		conn, err := mtwire.Dial(testContext(t), url, nil)
		if err == nil {
			err = echo(conn)
			conn.Close()
		}
		if (err == nil) != (step == 0) {
			t.Errorf("a clock %v off: %v", step, err)
		}
		if step != 0 {
			<-rejected
		}
		if err := echo(established); err != nil {
			t.Errorf("a clock %v off, on an established connection: %v", step, err)
		}
	}
	replaying, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer replaying.Close()
	replaying.Write(recorded)
	if n, err := io.Copy(io.Discard, replaying); n > 0 {
		t.Errorf("a recorded hello was answered with %d bytes, %v", n, err)
	}
	if err := <-rejected; err == nil {
		t.Error("the recorded hello was rejected without an error")
	}
}

// recorder keeps the bytes of the first Write.
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
