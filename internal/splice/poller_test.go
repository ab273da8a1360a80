package splice

import (
	"errors"
	"io"
	"net"
	"runtime"
	"testing"
	"time"
)

// A reset ends a pair of which both directions are parked.
func TestParkedPairNoticesAReset(t *testing.T) {
	poller := startPoller(t)
	client, left := pair(t)
	right, _ := pair(t)
	ended := make(chan error, 1)
	Start(Flow{Dst: right, Src: left}, Flow{Dst: left, Src: right}, &Config{Poller: poller, Idle: time.Millisecond},
		func(up, down Result) { ended <- errors.Join(up.Err, down.Err) })
	time.Sleep(50 * time.Millisecond)
	client.SetLinger(0)
	client.Close()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the pair ended without an error")
		}
	case <-time.After(patience):
		t.Fatal("the pair continues")
	}
}

// Pairs have no goroutine while nothing moves (two each where nothing is parked).
func TestIdlePairsHaveNoGoroutines(t *testing.T) {
	poller := startPoller(t)
	before := runtime.NumGoroutine()
	const pairs = 100
	var clients, servers []*net.TCPConn
	var started []*Pair
	ended := make(chan bool, pairs)
	for range pairs {
		client, left := pair(t)
		right, server := pair(t)
		clients, servers = append(clients, client), append(servers, server)
		started = append(started, Start(Flow{Dst: right, Src: left}, Flow{Dst: left, Src: right},
			&Config{Poller: poller, Idle: 10 * time.Millisecond}, func(up, down Result) { ended <- true }))
	}
	for round := range 3 {
		for i, client := range clients {
			client.Write([]byte{byte(i)})
			b := []byte{0}
			if _, err := io.ReadFull(servers[i], b); err != nil || b[0] != byte(i) {
				t.Fatalf("round %d: %d came, %v", round, b, err)
			}
		}
		// The poller's own goroutines may have begun after the first count.
		settled := func() bool { return runtime.NumGoroutine() <= before+idleGoroutines(pairs)+runtime.GOMAXPROCS(0) }
		for tries := 0; !settled(); tries++ {
			if tries == 500 {
				t.Fatalf("%d goroutines for %d idle pairs", runtime.NumGoroutine()-before, pairs)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	for _, p := range started {
		p.Abort(errors.New("done"))
		<-ended
	}
}
