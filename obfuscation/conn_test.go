package obfuscation

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/mtwire/mtwire/frame"
)

// recorder counts Writes and keeps their bytes. It fails if fail is set.
type recorder struct {
	net.Conn
	writes int
	bytes  []byte
	fail   error
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.fail != nil {
		return 3, r.fail
	}
	r.writes++
	r.bytes = append(r.bytes, p...)
	return len(p), nil
}

// Each Write is one Write below, the first with the init payload ahead, and does not
// change the caller's bytes.
func TestWriteIsOneWriteBelowAndLeavesItsInputAlone(t *testing.T) {
	for _, size := range []int{40, shortBody + 4, 64 << 10} {
		r := &recorder{}
		c, err := Client(r, &ClientConfig{Protocol: frame.Intermediate})
		if err != nil {
			t.Fatal(err)
		}
		head, body, tail := []byte("head"), bytes.Repeat([]byte("abcd"), size/4), []byte("tail")
		want := append(append(bytes.Clone(head), body...), tail...)
		n, err := c.WritePieces(head, body, tail)
		if err != nil || n != len(want) || r.writes != 1 || len(r.bytes) != InitLength+n {
			t.Fatalf("n = %d, %v, %d writes of %d bytes", n, err, r.writes, len(r.bytes))
		}
		if n, err = c.Write(body); err != nil || n != len(body) || r.writes != 2 {
			t.Fatalf("n = %d, %v, %d writes", n, err, r.writes)
		}
		if !bytes.Equal(body, bytes.Repeat([]byte("abcd"), size/4)) {
			t.Error("the caller's bytes have changed")
		}
		payload := [InitLength]byte(r.bytes)
		init, err := Match(&payload, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := r.bytes[InitLength:]
		init.Streams(frame.Server).Receive.XORKeyStream(got, got)
		if !bytes.Equal(got, append(want, body...)) {
			t.Errorf("%d bytes: the server decrypts other bytes", size)
		}
	}
}

// After a failed Write the key stream is ahead of the bytes sent: all later Writes
// fail and send nothing, and not with a timeout, after which callers write again. n counts the caller's bytes alone.
func TestErrorOfAWriteIsFinal(t *testing.T) {
	r := &recorder{fail: os.ErrDeadlineExceeded}
	c, err := Client(r, &ClientConfig{Protocol: frame.Abridged})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := c.Write(make([]byte, 100)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("n = %d, %v", n, err)
	}
	r.fail = nil
	if n, err := c.Write(make([]byte, 100)); n != 0 || !errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) || r.writes != 0 {
		t.Errorf("afterwards: n = %d, %v, %d writes", n, err, r.writes)
	}
}

// A Read that times out loses no byte, and later Reads continue. An end of input is
// final.
func TestReadContinuesAfterATimeout(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	done := make(chan error, 1)
	go func() {
		c, err := Client(far, &ClientConfig{Protocol: frame.Intermediate})
		if err == nil {
			_, err = c.Write([]byte("hello"))
		}
		done <- err
	}()
	server, _, err := Accept(near, nil)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2)
	if _, err := io.ReadFull(server, buf); err != nil || string(buf) != "he" {
		t.Fatalf("%q, %v", buf, err)
	}
	server.SetReadDeadline(time.Now())
	if _, err := server.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	server.SetReadDeadline(time.Time{})
	rest, err := io.ReadAll(io.LimitReader(server, 3))
	if err != nil || string(rest) != "llo" {
		t.Errorf("%q, %v", rest, err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	far.Close()
	for range 2 {
		if _, err := server.Read(buf); err != io.EOF {
			t.Errorf("at the end: %v", err)
		}
	}
}

// Reading and writing do not allocate once a connection runs.
func TestConnDoesNotAllocate(t *testing.T) {
	r := &loop{}
	c, err := Client(r, &ClientConfig{Protocol: frame.Intermediate})
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 64<<10)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := c.WritePieces(b[:4], b, b[:3]); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(b); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// loop accepts all bytes and returns as many as a Read has room for.
type loop struct{ net.Conn }

func (*loop) Write(p []byte) (int, error) { return len(p), nil }
func (*loop) Read(p []byte) (int, error)  { return len(p), nil }

// CloseWrite is the half-close of the connection below.
func TestCloseWriteIsThatOfTheConnectionBelow(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	closed := errors.New("closed")
	for _, c := range []struct {
		below net.Conn
		want  error
	}{{near, errors.ErrUnsupported}, {halfCloser{near, closed}, closed}} {
		client, err := Client(c.below, &ClientConfig{Protocol: frame.Abridged})
		if err != nil {
			t.Fatal(err)
		}
		if err := client.CloseWrite(); !errors.Is(err, c.want) {
			t.Errorf("over a %T: %v, want %v", c.below, err, c.want)
		}
	}
}

type halfCloser struct {
	net.Conn
	err error
}

func (h halfCloser) CloseWrite() error { return h.err }
