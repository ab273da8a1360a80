package vectors_test

import (
	"errors"
	"net"
	"time"
)

// duplex is one end of two pipes, one for each direction. Unlike a net.Pipe it has
// a half-close.
type duplex struct{ in, out net.Conn }

func duplexPipe() (near, far *duplex) {
	a, b := net.Pipe()
	c, d := net.Pipe()
	return &duplex{in: a, out: c}, &duplex{in: d, out: b}
}

func (d *duplex) Read(p []byte) (int, error)  { return d.in.Read(p) }
func (d *duplex) Write(p []byte) (int, error) { return d.out.Write(p) }
func (d *duplex) CloseWrite() error           { return d.out.Close() }
func (d *duplex) Close() error                { return errors.Join(d.in.Close(), d.out.Close()) }
func (d *duplex) LocalAddr() net.Addr         { return d.in.LocalAddr() }
func (d *duplex) RemoteAddr() net.Addr        { return d.in.RemoteAddr() }

// The deadline methods ignore errors: unlike a socket, a net.Pipe whose other end is
// closed refuses deadlines. Writes have none: into a socket they do not wait for the reader,
// which a busy machine may have suspended.

func (d *duplex) SetDeadline(t time.Time) error { return d.SetReadDeadline(t) }

func (d *duplex) SetReadDeadline(t time.Time) error {
	d.in.SetReadDeadline(t)
	return nil
}

func (d *duplex) SetWriteDeadline(time.Time) error { return nil }

// send writes the pieces, each with its own Write, and then closes the direction.
// It closes done afterwards, or if the other end has closed.
func (d *duplex) send(pieces [][]byte) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer d.CloseWrite()
		for _, piece := range pieces {
			if len(piece) == 0 {
				continue // a net.Pipe's Read would return 0 bytes, unlike a socket's
			}
			if _, err := d.Write(piece); err != nil {
				return
			}
		}
	}()
	return done
}
