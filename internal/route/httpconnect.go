package route

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// maxAnswerHead bounds the head of an HTTP proxy's answer.
const maxAnswerHead = 16 << 10

// connectHTTP asks the HTTP proxy at the other end of conn for a connection to
// address, a host name or an IP address.
//
// Specification: https://www.rfc-editor.org/rfc/rfc9110#section-9.3.6
func connectHTTP(ctx context.Context, conn net.Conn, u Upstream, address string) error {
	return interruptible(ctx, conn, func() error { return exchangeHTTP(conn, u, address) })
}

func exchangeHTTP(conn net.Conn, u Upstream, address string) error {
	request := &http.Request{
		Method: http.MethodConnect,
		URL:    &url.URL{Host: address},
		Host:   address,
		Header: http.Header{"User-Agent": nil}, // none
	}
	if u.user != "" {
		request.SetBasicAuth(u.user, u.password)
		request.Header["Proxy-Authorization"] = request.Header["Authorization"]
		request.Header.Del("Authorization")
	}
	if err := request.Write(conn); err != nil {
		return err
	}
	head := &io.LimitedReader{R: conn, N: maxAnswerHead}
	r := bufio.NewReader(head)
	answer, err := http.ReadResponse(r, request)
	switch {
	case head.N == 0:
		return fmt.Errorf("the head of the HTTP proxy's answer is longer than %d bytes", maxAnswerHead)
	case err != nil:
		return fmt.Errorf("answer of the HTTP proxy: %w", err)
	case answer.StatusCode/100 != 2:
		// In our own words: the proxy's may be anything.
		return fmt.Errorf("the HTTP proxy answered %d %s", answer.StatusCode, http.StatusText(answer.StatusCode))
	case r.Buffered() > 0:
		// A data centre never speaks first, so this is no tunnel to one. It
		// also means that nothing is lost with the buffer.
		return errors.New("the HTTP proxy sent more than the head of an answer")
	}
	return nil
}

// interruptible runs f, which uses conn, and makes it fail when ctx ends.
func interruptible(ctx context.Context, conn net.Conn, f func() error) error {
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		conn.SetDeadline(time.Unix(1, 0))
		close(interrupted)
	})
	err := f()
	if stop() {
		return err
	}
	<-interrupted
	return context.Cause(ctx)
}
