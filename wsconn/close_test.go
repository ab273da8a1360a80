//go:build !js

package wsconn

import (
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/loopback"
)

// After EOF, the connection is closed in both directions.
func TestPeersCloseIsEOFAfterItsData(t *testing.T) {
	eachSide(t, func(t *testing.T, from, to *Conn) {
		if _, err := from.Write([]byte("last words")); err != nil {
			t.Fatal(err)
		}
		closed := make(chan error, 1)
		go func() { closed <- from.Close() }()
		got, err := io.ReadAll(to)
		if err != nil || string(got) != "last words" {
			t.Errorf("read %q, %v", got, err)
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if _, err := to.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("second read: %v, want EOF again", err)
		}
		if n, err := to.Write([]byte("x")); n != 0 || !errors.Is(err, net.ErrClosed) {
			t.Errorf("write to a closed peer: %d, %v", n, err)
		}
		if _, err := from.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read after Close: %v", err)
		}
		if _, err := from.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write after Close: %v", err)
		}
		if err := from.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second Close: %v", err)
		}
	})
}

func TestCloseReasonCarriesATransportErrorInBothDirections(t *testing.T) {
	eachSide(t, func(t *testing.T, from, to *Conn) {
		if _, err := from.Write([]byte("in band")); err != nil {
			t.Fatal(err)
		}
		closed := make(chan error, 1)
		go func() { closed <- from.CloseTransportError(404) }()
		got, err := io.ReadAll(to)
		var te *frame.TransportError
		if string(got) != "in band" || !errors.As(err, &te) || te.Code != 404 {
			t.Errorf("read %q, %v", got, err)
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if err := from.CloseTransportError(404); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second: %v", err)
		}
	})
}

// The bytes are 88, length 12, status 1000, seven spaces and three digits.
//
// Specification: https://core.telegram.org/mtproto/mtproto-transports#transport-errors
func TestCloseFrameMatchesTheSpecification(t *testing.T) {
	a, b := tcpPair(t)
	cb := &countingConn{Conn: b}
	client, server := upgradedPair(t, a, cb, time.Second)
	cb.reset()
	go io.Copy(io.Discard, client)
	if err := server.CloseTransportError(404); err != nil {
		t.Fatal(err)
	}
	want := "\x88\x0c\x03\xe8       404"
	if got := cb.writes[0]; string(got) != want {
		t.Errorf("close frame % x, want % x", got, want)
	}
}

// A close frame with another reason is a normal close.
func TestCloseReasonIsParsed(t *testing.T) {
	for reason, code := range map[string]uint32{
		"       404": 404, "       429": 429, "404": 404, "2147483648": 1 << 31,
		"": 0, "          ": 0, "bye": 0, "         0": 0, "       -40": 0, "       +40": 0,
		"2147483649": 0, "4294967295": 0, "        404": 0, "404       ": 0,
	} {
		e, ok := parseCloseReason(reason)
		if ok != (code != 0) || ok && e.Code != code {
			t.Errorf("%q: %v, %v, want %d", reason, e, ok, code)
		}
	}
	for _, code := range []uint32{1, 404, 1 << 31} {
		if e, ok := parseCloseReason(closeReason(code)); !ok || e.Code != code {
			t.Errorf("%d does not survive: %v", code, e)
		}
	}
}

// Without a close frame, the end of the connection is EOF between frames and an
// error inside one.
func TestConnectionEndInsideAFrameIsUnexpected(t *testing.T) {
	for name, c := range map[string]struct {
		bytes string
		want  error
	}{
		"Between": {"\x82\x02hi", io.EOF},
		"Header":  {"\x82\x02hi\x82", io.ErrUnexpectedEOF},
		"Payload": {"\x82\x02hi\x82\x05lo", io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := tcpPair(t)
			client, server := upgradedPair(t, a, b, time.Second)
			b.Write([]byte(c.bytes))
			b.Close()
			got, err := io.ReadAll(client)
			if err == nil {
				err = io.EOF
			}
			if string(got) != "hi" || err != c.want {
				t.Errorf("read %q, %v, want %v", got, err, c.want)
			}
			server.Close()
		})
	}
}

// CloseTimeout also limits a running Read and Write.
func TestCloseDoesNotWaitForASilentPeer(t *testing.T) {
	if err := loopback.Undisturbed(time.Second, func() error { return closeBesideASilentPeer(t) }); err != nil {
		t.Error(err)
	}
}

func closeBesideASilentPeer(t *testing.T) error {
	a, b := net.Pipe()
	client, _ := upgradedPair(t, a, b, 20*time.Millisecond)
	failed := make(chan error, 2)
	go func() {
		_, err := client.Read(make([]byte, 1))
		failed <- err
	}()
	go func() {
		_, err := client.Write([]byte("the peer does not read this"))
		failed <- err
	}()
	start := time.Now()
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := <-failed; !errors.Is(err, net.ErrClosed) {
			t.Errorf("unblocked with %v, want net.ErrClosed", err)
		}
	}
	took := time.Since(start)
	if err := client.SetReadDeadline(time.Now().Add(time.Hour)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("deadline after Close: %v", err)
	}
	if took > 2*time.Second {
		return fmt.Errorf("took %v", took)
	}
	return nil
}

func TestCloseLeavesNoGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// synctest.Test fails if a goroutine remains.
		a, b := net.Pipe()
		client, server := upgradedPair(t, a, b, time.Second)
		client.SetDeadline(time.Now().Add(time.Hour))
		go client.Close()
		if _, err := server.Read(make([]byte, 1)); err != io.EOF {
			t.Error(err)
		}
		server.Close()
	})
}
