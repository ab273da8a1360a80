package stun

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"
)

// Requests are sent again, because UDP may lose them, after retransmit and then
// after twice as long each time. After attempts of them a query fails.
//
// Specification: https://www.rfc-editor.org/rfc/rfc8489#section-6.2.1
const (
	retransmit = 500 * time.Millisecond
	attempts   = 3
)

// Query returns the address of this machine that a STUN server sees, from the
// network udp4 or udp6. It takes at most 3.5 seconds.
func Query(ctx context.Context, network, server string) (netip.Addr, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, server)
	if err != nil {
		return netip.Addr{}, err
	}
	defer conn.Close()
	return exchange(ctx, conn)
}

// exchange sends requests on conn until a response comes.
func exchange(ctx context.Context, conn net.Conn) (netip.Addr, error) {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	var id TransactionID
	rand.Read(id[:])
	request, wait := AppendRequest(nil, id), retransmit
	for range attempts {
		conn.SetDeadline(time.Now().Add(wait))
		wait *= 2
		if _, err := conn.Write(request); err != nil {
			return netip.Addr{}, withCause(ctx, err)
		}
		address, err := receive(conn, id)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return address, withCause(ctx, err)
		}
	}
	return netip.Addr{}, fmt.Errorf("no answer from the STUN server %v", conn.RemoteAddr())
}

// receive reads until the response to the request with that id.
func receive(conn net.Conn, id TransactionID) (netip.Addr, error) {
	buffer := make([]byte, 1500)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return netip.Addr{}, err
		}
		address, err := ParseResponse(buffer[:n], id)
		if err != errOther {
			return address.Addr(), err
		}
	}
}

// withCause returns err, or the cause of ctx if that has ended: it closes the
// connection.
func withCause(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
