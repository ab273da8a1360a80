//go:build !js

package wsconn

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// recordedConn is a connection whose peer has sent all of its bytes.
type recordedConn struct {
	io.Reader
	read int
}

func (c *recordedConn) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.read += n
	return n, err
}
func (*recordedConn) Write(p []byte) (int, error)      { return len(p), nil }
func (*recordedConn) Close() error                     { return nil }
func (*recordedConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*recordedConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*recordedConn) SetDeadline(time.Time) error      { return nil }
func (*recordedConn) SetReadDeadline(time.Time) error  { return nil }
func (*recordedConn) SetWriteDeadline(time.Time) error { return nil }

// FuzzServer checks that a server's Read ends with an error for all bytes from a
// client, that this error is permanent, and that the stream is no longer than the
// input.
func FuzzServer(f *testing.F) {
	f.Add(upgradeRequest)
	f.Add(upgradeRequest + string(frameOf(5, true)) + string(frameOf(300, true)))
	f.Add(upgradeRequest + string(frameOf(70000, true)))
	f.Add(upgradeRequest + "\x88\x8c\x00\x00\x00\x00\x03\xe8       404")
	f.Add(upgradeRequest + "\x89\x80\x00\x00\x00\x00\x02\x81\x00\x00\x00\x00x\x80\x80\x00\x00\x00\x00")
	f.Add(strings.Replace(upgradeRequest, "GET", "POST", 1))
	f.Fuzz(func(t *testing.T, data string) {
		conn := &recordedConn{Reader: strings.NewReader(data)}
		c, err := Server(t.Context(), conn, nil)
		if err != nil {
			return
		}
		total := 0
		p := make([]byte, 512)
		for {
			n, err := c.Read(p)
			total += n
			if err != nil {
				if _, again := c.Read(p); again != err {
					t.Errorf("first %v, then %v", err, again)
				}
				break
			}
			if n == 0 {
				t.Fatal("read nothing without an error")
			}
		}
		if total > conn.read {
			t.Errorf("%d bytes out of %d", total, conn.read)
		}
		c.Close()
	})
}
