package proxydial

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"github.com/mtwire/mtwire/internal/netx"
)

// maxResponseHeader limits the header of an HTTP proxy's response, with those of the interim
// ones before it, in bytes.
const maxResponseHeader = 16 << 10

// connectHTTP asks the HTTP proxy at the other end of conn to CONNECT to address,
// a host name or an IP address with a port.
//
// Specification: https://www.rfc-editor.org/rfc/rfc9110#section-9.3.6
func connectHTTP(ctx context.Context, conn net.Conn, p Proxy, address string) error {
	return netx.Interruptible(ctx, conn.SetDeadline, func() error { return exchangeHTTP(conn, p, address) })
}

func exchangeHTTP(conn net.Conn, p Proxy, address string) error {
	request := &http.Request{
		Method: http.MethodConnect,
		URL:    &url.URL{Host: address},
		Host:   address,
		Header: http.Header{"User-Agent": nil}, // none
	}
	if p.User != "" {
		request.SetBasicAuth(p.User, p.Password)
		request.Header["Proxy-Authorization"] = request.Header["Authorization"]
		request.Header.Del("Authorization")
	}
	if err := request.Write(conn); err != nil {
		return err
	}
	limited := &io.LimitedReader{R: conn, N: maxResponseHeader}
	r := bufio.NewReader(limited)
	response, err := netx.ReadFinalResponse(r, request)
	switch {
	case limited.N == 0:
		return fmt.Errorf("the header of the HTTP proxy's response is longer than %d bytes", maxResponseHeader)
	case err != nil:
		return fmt.Errorf("response of the HTTP proxy: %w", netx.Brief(err))
	case response.StatusCode/100 != 2:
		return StatusError(response.StatusCode)
	case r.Buffered() > 0:
		// A data centre never sends first, so this is no tunnel to one. The
		// check also ensures that no bytes are lost with the buffer.
		return errors.New("the HTTP proxy sent bytes behind the header of its response")
	}
	return nil
}

// StatusError is an HTTP proxy's refusal to connect, as its status.
type StatusError int

// Error returns the status. http.StatusText replaces the proxy's own text, which may
// contain anything.
func (s StatusError) Error() string {
	return fmt.Sprintf("the HTTP proxy responded %d %s", int(s), http.StatusText(int(s)))
}
