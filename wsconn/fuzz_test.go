package wsconn

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// stored is a connection whose peer has sent all it will send.
type stored struct {
	io.Reader
	read int
}

func (c *stored) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.read += n
	return n, err
}
func (*stored) Write(p []byte) (int, error)      { return len(p), nil }
func (*stored) Close() error                     { return nil }
func (*stored) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*stored) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*stored) SetDeadline(time.Time) error      { return nil }
func (*stored) SetReadDeadline(time.Time) error  { return nil }
func (*stored) SetWriteDeadline(time.Time) error { return nil }

// Whatever a client sends, the server side ends, with no more bytes out of the
// stream than went in, and keeps its last error.
func FuzzServer(f *testing.F) {
	f.Add(upgradeRequest)
	f.Add(upgradeRequest + string(frameOf(5, true)) + string(frameOf(300, true)))
	f.Add(upgradeRequest + string(frameOf(70000, true)))
	f.Add(upgradeRequest + "\x88\x8c\x00\x00\x00\x00\x03\xe8       404")
	f.Add(upgradeRequest + "\x89\x80\x00\x00\x00\x00\x02\x81\x00\x00\x00\x00x\x80\x80\x00\x00\x00\x00")
	f.Add(strings.Replace(upgradeRequest, "GET", "POST", 1))
	f.Fuzz(func(t *testing.T, data string) {
		conn := &stored{Reader: strings.NewReader(data)}
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
