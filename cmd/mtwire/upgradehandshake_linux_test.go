package main

import (
	"context"
	"io"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/mtwire/mtwire"
)

// gate passes on the first bytes of a connection, and the others once it is open.
type gate struct {
	net.Listener
	open chan struct{}
}

// heldBytes is how many bytes a gate passes on at first: half of an init payload.
const heldBytes = 32

// startGate starts a gate in front of an address, for one connection.
func startGate(t *testing.T, address string) *gate {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{ln, make(chan struct{})}
	t.Cleanup(func() { ln.Close() })
	go func() {
		client, err := ln.Accept()
		if err != nil {
			return
		}
		defer client.Close()
		server, err := net.Dial("tcp", address)
		if err != nil {
			return
		}
		defer server.Close()
		go func() {
			io.Copy(client, server)
			client.Close()
		}()
		io.CopyN(server, client, heldBytes)
		<-g.open
		io.Copy(server, client)
	}()
	return g
}

// counters returns the counters of /metrics, none if the process that serves the request ends at
// that moment.
func (a *administered) counters() map[string]float64 {
	answer, err := a.client.Get("http://localhost/metrics")
	if err != nil {
		return nil
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil
	}
	_, counters := seriesOf(string(text))
	return counters
}

// isNotAdmitted reports whether one client was refused, or has not finished its handshake in time,
// as on a machine that takes ten seconds for an upgrade.
func isNotAdmitted(counters map[string]float64) bool {
	n := 0.0
	for name, value := range counters {
		if strings.HasPrefix(name, "mtwire_refusals_total") || strings.HasPrefix(name, "mtwire_handshake_failures_total") {
			n += value
		}
	}
	return n == 1
}

// A handshake that the old process has begun, and that ends after the new one has begun to accept,
// counts once, and the limits hold for it and for the clients of the new process together: here
// the only place is the new process's.
func TestUpgradeCountsHandshakesOfBothProcesses(t *testing.T) {
	t.Parallel()
	for _, limit := range []string{"max_connections = 1", "max_addresses = 1\naddress_window = '0s'"} {
		t.Run(limit[:7], func(t *testing.T) {
			t.Parallel()
			flags, _ := withUser(t, "", limit+"\n")
			const step = "old settles" // when it does not accept any more
			a := startAdministeredWith(t, func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, stepVariable+"=stop "+step) }, append(flags, "--probe=false")...)
			early, goOn := a.joinAt(t, startGate(t, a.address))
			eventually(t, "a handshake", func() bool {
				counters := a.counters()
				return counters["mtwire_connections_accepted_total"] == 1
			})
			if err := syscall.Kill(a.current, syscall.SIGUSR2); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the step", func() bool { return isStopped(a.current) })
			syscall.Kill(a.current, syscall.SIGCONT)
			second, err := a.dialFrom("127.0.0.2")
			if err != nil {
				t.Fatal(err) // in the new process
			}
			defer second.Close()
			answered := goOn()
			eventually(t, "a refusal", func() bool {
				select {
				case err := <-answered:
					if err == nil {
						t.Fatal("both processes have admitted a client in the same place")
					}
				default:
				}
				counters := a.counters()
				return isNotAdmitted(counters)
			})
			if err := echoOnce(second, 100); err != nil {
				t.Error(err)
			}
			early.Close() // for which the old process waits otherwise
			eventually(t, "the metrics of the new process", func() bool {
				counters := a.counters()
				return counters["mtwire_connections_accepted_total"] == 2 && isNotAdmitted(counters)
			})
		})
	}
}

// joinAt begins the handshake of a client of carol at a gate, and returns its connection, and what
// has it go on, with the result of an exchange.
func (u *upgraded) joinAt(t *testing.T, g *gate) (conn *mtwire.Conn, goOn func() (answered <-chan error)) {
	t.Helper()
	conn, err := mtwire.Dial(t.Context(), "tcp://"+g.Addr().String()+"?secret="+carolSecret, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	answered := make(chan error, 1)
	go func() { answered <- echoOnce(conn, 64) }()
	return conn, func() <-chan error {
		close(g.open)
		return answered
	}
}

// dialFrom returns the connection of a client of carol that has an address of its own, and has
// had a packet echoed.
func (u *upgraded) dialFrom(address string) (*mtwire.Conn, error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	conn, err := mtwire.Dial(context.Background(), "tcp://"+u.address+"?secret="+carolSecret, &mtwire.DialConfig{DialContext: dialer.DialContext})
	if err == nil {
		err = echoOnce(conn, 64)
	}
	return conn, err
}
