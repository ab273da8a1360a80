package fronting

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/mtwire/mtwire/internal/readbuf"
)

// Early is a connection to the first host, opened for a client that has said
// nothing yet. Whether a stranger or not, it is to see what it would see there:
// a greeting, or a close when the host has waited long enough. The host's
// clock runs from the beginning, whatever the client says in the end.
//
// Its methods must not be called concurrently with one another, and after Pipe
// or Close only Close may be.
type Early struct {
	front *Front // nil once it is closed or piped
	host  *host
	conn  net.Conn
	u     *unheard

	words readbuf.Reader // what the host has said
	ended error          // io.EOF, or why nothing more will come
}

// Open connects to the first host for a silent client, which arrived at the
// address local. It fails with ErrBusy if too many have been opened, or as
// Pipe does; then the client may be left to its silence. The connection is to
// be ended by Close or by Pipe.
func (f *Front) Open(ctx context.Context, local net.Addr) (*Early, error) {
	h := f.choose("")
	if h == nil {
		return nil, errNoHost
	}
	if !f.silent.take() {
		return nil, ErrBusy
	}
	conn, u, err := f.connect(ctx, h, nil, local)
	if err != nil {
		f.silent.free()
		return nil, err
	}
	e := &Early{front: f, host: h, conn: conn, u: u}
	e.words.Reset(conn)
	return e, nil
}

// Wait returns nil when the host has said something, or has ended the
// connection: then Pipe is due. It returns ctx's error when that ends before,
// for instance because the client has spoken; nothing is lost, and Wait may be
// called again.
func (e *Early) Wait(ctx context.Context) error {
	if e.ended != nil || len(e.words.Bytes()) > 0 {
		return nil
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		e.conn.SetReadDeadline(longAgo)
		close(interrupted)
	})
	err := e.words.Fill()
	if !stop() {
		<-interrupted
		e.conn.SetReadDeadline(time.Time{})
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return ctx.Err()
		}
	}
	e.ended = err
	e.u.end()
	return nil
}

// Pipe is Front.Pipe with the connection that is open already, unless conn asks
// for another host. It gets what the host has said meanwhile.
func (e *Early) Pipe(ctx context.Context, conn net.Conn) (Result, error) {
	f := e.front
	first, client := apart(conn)
	if f.choose(asked(first)) != e.host {
		e.Close()
		return f.Pipe(ctx, conn)
	}
	defer conn.Close()
	if !f.piped.take() {
		e.Close()
		silence(ctx, conn)
		return Result{}, ErrBusy
	}
	defer f.piped.free()
	if err := f.hold(ctx, first); err != nil {
		e.Close()
		silence(ctx, conn)
		return Result{}, err
	}
	words := e.words.Take()
	f.silent.free()
	e.front = nil
	defer e.u.end()
	defer e.conn.Close()
	if e.ended != nil && e.ended != io.EOF {
		reset(conn) // the second read of a socket would not say it again
		return Result{Domain: e.host.Domain}, named("from the fronting host", e.ended)
	}
	return f.carry(ctx, e.host, client, e.conn, first, words, e.u)
}

// Close ends the connection. After Pipe it does nothing.
func (e *Early) Close() {
	if e.front == nil {
		return
	}
	e.conn.Close()
	e.u.end()
	e.words.Release()
	e.front.silent.free()
	e.front = nil
}
