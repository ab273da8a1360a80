package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/obfuscation"
)

// upgradeSessions is how many sessions TestUpgradeMovesThousands has. Each takes two
// descriptors of the proxy and two of the test.
var upgradeSessions = flag.Int("upgrade-sessions", 1000, "sessions of TestUpgradeMovesThousands")

// Thousands of idle sessions move, and all of them go on.
func TestUpgradeMovesThousands(t *testing.T) {
	u := startUpgraded(t, patient)
	conns := make([]*mtwire.Conn, *upgradeSessions)
	each := func(do func(i int) error) {
		t.Helper()
		var running sync.WaitGroup
		for worker := range 16 {
			running.Go(func() {
				for i := worker; i < len(conns); i += 16 {
					if err := do(i); err != nil {
						t.Errorf("client %d: %v", i, err)
						return
					}
				}
			})
		}
		if running.Wait(); t.Failed() {
			t.FailNow()
		}
	}
	each(func(i int) (err error) {
		if conns[i], err = mtwire.Dial(context.Background(), "tcp://"+u.address+"?"+upgradeModes[i%len(upgradeModes)], nil); err == nil {
			t.Cleanup(func() { conns[i].Close() })
			err = echoOnce(conns[i], 64)
		}
		return err
	})
	for range 2 {
		if n := u.upgrade(t); n != len(conns) {
			t.Errorf("%d sessions have moved, want %d", n, len(conns))
		}
		t.Log(u.takeovers(t))
		each(func(i int) error { return echoOnce(conns[i], 64) })
	}
}

// The limit of a user's connections holds during and after an upgrade: sessions that have
// moved count, all of them stay, and the usage goes on.
func TestUpgradeKeepsLimits(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "mtwire.toml")
	const secret = "dd202122232425262728292a2b2c2d2e2f"
	text := "[[user]]\nname = 'carol'\nsecret = '" + secret + "'\nmax_connections = 3\nmax_addresses = 1\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	u := startUpgraded(t, patient, "--config", file)
	var conns []*mtwire.Conn
	for range 3 {
		conns = append(conns, u.join(t, "secret="+secret))
	}
	for range 3 {
		if n := u.upgrade(t); n != 3 {
			t.Errorf("%d sessions have moved", n)
		}
		conn, err := mtwire.Dial(t.Context(), "tcp://"+u.address+"?secret="+secret, nil)
		if err == nil {
			err = echoWithin(conn, 100, time.Second) // there is no answer to a client that is refused
			conn.Close()
		}
		if err == nil {
			t.Error("a fourth connection was admitted")
		}
		for _, conn := range conns {
			if err := echoOnce(conn, 100); err != nil {
				t.Fatal(err)
			}
		}
	}
	conns[0].Close()
	u.awaitAdmission(t, "secret="+secret) // in the place of the session that has ended
}

// A session whose client has ended its stream moves half-closed: the download goes on to its
// end, without a byte lost.
func TestUpgradeKeepsHalfClosedSessions(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	u := startUpgraded(t, patient, "--probe=false", "--dc", "5="+ln.Addr().String())
	client, err := net.Dial("tcp", u.address)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	secret, err := mtproxy.ParseSecret(mtwiretest.PlainSecret)
	if err != nil {
		t.Fatal(err)
	}
	init, _, err := obfuscation.NewInit(&obfuscation.ClientConfig{Protocol: frame.Intermediate, DC: 5, Key: &secret.Key})
	if err != nil {
		t.Fatal(err)
	}
	client.Write(init[:])
	dc, err := ln.Accept() // in fast mode the download is passed on as it is
	if err != nil {
		t.Fatal(err)
	}
	defer dc.Close()
	readInit := make([]byte, obfuscation.InitLength)
	if _, err := dc.Read(readInit); err != nil {
		t.Fatal(err)
	}
	exchange := func(n int) {
		t.Helper()
		sent := bytes.Repeat([]byte(fmt.Sprint(n)), 50_000)
		go dc.Write(sent)
		got := make([]byte, len(sent))
		for rest := got; len(rest) > 0; {
			n, err := client.Read(rest)
			if err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if !bytes.Equal(got, sent) {
			t.Fatal("other bytes")
		}
	}
	exchange(0)
	client.(*net.TCPConn).CloseWrite()
	if n, err := dc.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Fatal(n, err)
	}
	for i := range 3 {
		if n := u.upgrade(t); n != 1 {
			t.Errorf("%d sessions have moved", n)
		}
		exchange(i + 1)
	}
	dc.Close()
	if n, err := client.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Error(n, err)
	}
	syscall.Kill(u.current, syscall.SIGTERM)
}
