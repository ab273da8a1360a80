package splice

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/mtwire/mtwire/mtwiretest"
)

// pair returns two ends of a TCP connection.
func pair(t *testing.T) (client, server *net.TCPConn) {
	t.Helper()
	a, b, err := mtwiretest.Pair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// plain hides what a connection is, so that the buffered path is taken.
type plain struct{ net.Conn }

func (p plain) CloseWrite() error { return p.Conn.(*net.TCPConn).CloseWrite() }

// paths are the two ways that bytes can take.
var paths = map[string]func(*net.TCPConn) net.Conn{
	"socket to socket": func(c *net.TCPConn) net.Conn { return c },
	"through a buffer": func(c *net.TCPConn) net.Conn { return plain{c} },
}

// "client half-closes (the answer still arrives)", "nothing delivered is lost
// or reordered", on the kernel's path and on ours.
func TestBothDirectionsArriveWhole(t *testing.T) {
	for name, wrap := range paths {
		t.Run(name, func(t *testing.T) {
			client, left := pair(t)
			right, server := pair(t)
			l, r := wrap(left), wrap(right)
			done := make(chan [2]Result, 1)
			go func() {
				up, down := Run(context.Background(), Flow{Dst: r, Src: l}, Flow{Dst: l, Src: r}, 0)
				left.Close()
				right.Close()
				done <- [2]Result{up, down}
			}()
			question, answer := make([]byte, 1<<20), make([]byte, 3<<20)
			rand.Read(question)
			rand.Read(answer)
			go func() {
				client.Write(question)
				client.CloseWrite()
			}()
			got, err := io.ReadAll(server)
			if err != nil || !bytes.Equal(got, question) {
				t.Fatalf("the server read %d bytes, %v", len(got), err)
			}
			go func() {
				server.Write(answer)
				server.Close()
			}()
			if got, err = io.ReadAll(client); err != nil || !bytes.Equal(got, answer) {
				t.Fatalf("the client read %d bytes, %v", len(got), err)
			}
			r0 := <-done
			if r0 != [2]Result{{1 << 20, nil}, {3 << 20, nil}} {
				t.Errorf("%+v", r0)
			}
		})
	}
}

// "an error or the end of the context ends both."
func TestContextEndsBothDirections(t *testing.T) {
	_, left := pair(t)
	right, _ := pair(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	up, down := Run(ctx, Flow{Dst: right, Src: left}, Flow{Dst: left, Src: plain{right}}, 0)
	if err := errors.Join(up.Err, down.Err); !errors.Is(err, context.Canceled) || up.Err != nil && down.Err != nil {
		t.Errorf("%v, %v", up.Err, down.Err)
	}
}

// A peer that never answers a half-close is cut off.
func TestSilenceAfterHalfCloseIsCutOff(t *testing.T) {
	client, left := pair(t)
	right, _ := pair(t)
	client.CloseWrite()
	up, down := Run(context.Background(), Flow{Dst: right, Src: left}, Flow{Dst: left, Src: right}, time.Millisecond)
	if up.Err != nil || !errors.Is(down.Err, os.ErrDeadlineExceeded) {
		t.Errorf("%v, %v", up.Err, down.Err)
	}
}

// A reset in one direction does not leave the other hanging.
func TestResetEndsBothDirections(t *testing.T) {
	client, left := pair(t)
	right, _ := pair(t)
	client.SetLinger(0)
	client.Close()
	up, down := Run(context.Background(), Flow{Dst: right, Src: left}, Flow{Dst: left, Src: right}, time.Hour)
	if err := errors.Join(up.Err, down.Err); !errors.Is(err, syscall.ECONNRESET) || up.Err != nil && down.Err != nil {
		t.Errorf("%v, %v", up.Err, down.Err)
	}
}

// "cut off when it has been silent": a direction that moves is left alone.
func TestActiveDirectionOutlivesTheLinger(t *testing.T) {
	for name, wrap := range paths {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, left := pair(t)
			right, server := pair(t)
			client.CloseWrite()
			go func() {
				for range 30 { // longer than the linger, at a pace well inside it
					server.Write([]byte{1})
					time.Sleep(100 * time.Millisecond)
				}
				server.Close()
			}()
			l, r := wrap(left), wrap(right)
			up, down := Run(context.Background(), Flow{Dst: r, Src: l}, Flow{Dst: l, Src: r}, 2*time.Second)
			if up.Err != nil || down.Err != nil || down.Bytes != 30 {
				t.Errorf("%+v, %+v", up, down)
			}
		})
	}
}

// "nothing has moved": a peer that sent its end and reads nothing more does
// not hold the relay.
func TestBlockedWriteIsCutOffAfterAHalfClose(t *testing.T) {
	for name, wrap := range paths {
		t.Run(name, func(t *testing.T) {
			client, left := pair(t)
			right, server := pair(t)
			client.CloseWrite()
			go func() { // far more than the sockets hold
				for b := make([]byte, 1<<20); ; {
					if _, err := server.Write(b); err != nil {
						return
					}
				}
			}()
			l, r := wrap(left), wrap(right)
			up, down := Run(context.Background(), Flow{Dst: r, Src: l}, Flow{Dst: l, Src: r}, 100*time.Millisecond)
			if up.Err != nil || !errors.Is(down.Err, os.ErrDeadlineExceeded) {
				t.Errorf("%+v, %+v", up, down)
			}
		})
	}
}
