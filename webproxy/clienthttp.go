package webproxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/coder/websocket"
)

// Times of a client, which are those of the relays' pages.
const (
	requestTime  = 90 * time.Second
	maxBusy      = 90 * time.Second // in which a relay may be busy
	maxAttempts  = 9
	firstPause   = 250 * time.Millisecond
	longestPause = 5 * time.Second

	// gatherTime is how long WINDOW frames wait for others of the same batch. Telegram
	// Desktop has 20 ms.
	gatherTime = 10 * time.Millisecond
)

// request is a request of a client, which is repeated as it is.
type request struct {
	name, method, path, query string
	headers                   []string // names and values
	body                      [][]byte
	limit                     int // of the answer's body
	once                      bool
	first                     bool // of a session, and fails if the relay is out of reach
}

// response is an answer with the status that was expected: 200 with a body, or 204.
type response struct {
	header   http.Header
	body     []byte
	empty    bool
	repeated bool // after an error of the network
}

// do sends a request, and repeats it after errors of the network and while the
// relay is busy.
func (c *Client) do(ctx context.Context, r request) (response, error) {
	pause, busySince := firstPause, time.Time{}
	var last error // that of the attempt before
	for attempt := 1; ; attempt++ {
		answer, retryAfter, err := c.attempt(ctx, r)
		var status *StatusError
		var unreachable unreachableError
		wait := time.Duration(0)
		switch {
		case err == nil:
			answer.repeated = pause > firstPause
			return answer, nil
		case ctx.Err() != nil:
			return answer, ended(ctx, last)
		case r.once, r.first && (errors.As(err, &unreachable) || isTLSError(err)):
			return answer, err
		case errors.As(err, &status):
			if busySince.IsZero() {
				busySince = time.Now()
			}
			if status.Status != http.StatusServiceUnavailable || time.Since(busySince) > maxBusy {
				return answer, err
			}
			attempt, wait = 0, min(max(retryAfter, firstPause), ioTime)
		case attempt == maxAttempts || errors.Is(err, ErrProtocol):
			return answer, err
		default:
			wait = pause/2 + rand.N(pause)
			pause = min(2*pause, longestPause)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return answer, ended(ctx, err)
		}
		last = err
	}
}

// ended returns the error of a request that ctx has ended, and what kept it from succeeding
// before, if anything did.
func ended(ctx context.Context, last error) error {
	if last == nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w, after: %w", ctx.Err(), last)
}

// isTLSError reports whether err is a refusal of TLS, which will be repeated.
func isTLSError(err error) bool {
	var certificate *tls.CertificateVerificationError
	var alert tls.AlertError
	var record tls.RecordHeaderError
	return errors.As(err, &certificate) || errors.As(err, &alert) || errors.As(err, &record)
}

// attempt sends a request once.
func (c *Client) attempt(ctx context.Context, r request) (answer response, retryAfter time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	req, err := c.newRequest(ctx, r)
	if err != nil {
		return answer, 0, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer, 0, redactedError(r.name, err)
	}
	defer resp.Body.Close()
	answer.header, answer.empty = resp.Header, resp.StatusCode == http.StatusNoContent
	if ok := resp.StatusCode == http.StatusOK && r.limit > 0; !ok && !answer.empty {
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		return answer, time.Duration(seconds) * time.Second, &StatusError{r.name, resp.StatusCode}
	}
	if answer.body, err = readAnswer(resp, r.limit); err != nil {
		return answer, 0, err
	}
	return answer, 0, nil
}

// readAnswer reads an answer's body of at most limit bytes.
func readAnswer(resp *http.Response, limit int) ([]byte, error) {
	var b bytes.Buffer
	if n := resp.ContentLength; 0 < n && n <= int64(limit) {
		b.Grow(int(n) + bytes.MinRead)
	}
	if _, err := b.ReadFrom(io.LimitReader(resp.Body, int64(limit)+1)); err != nil {
		return nil, err
	}
	if b.Len() > limit {
		return nil, violation("an answer of more than %d bytes", limit)
	}
	return b.Bytes(), nil
}

func (c *Client) newRequest(ctx context.Context, r request) (*http.Request, error) {
	target := "https://" + c.link.Host + c.link.Base() + r.path
	if r.query != "" {
		target += "?" + r.query
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, nil)
	if err != nil {
		return nil, err
	}
	req.Header = c.header.Clone()
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	for i := 0; i < len(r.headers); i += 2 {
		req.Header.Set(r.headers[i], r.headers[i+1])
	}
	if r.body != nil {
		req.Header.Set("Content-Type", bodyType)
		req.ContentLength = int64(length(r.body))
		req.GetBody = func() (io.ReadCloser, error) {
			parts := make([]io.Reader, len(r.body))
			for i, part := range r.body {
				parts[i] = bytes.NewReader(part)
			}
			return io.NopCloser(io.MultiReader(parts...)), nil
		}
		req.Body, _ = req.GetBody()
	}
	return req, nil
}

// redactedError returns err without the URL, which has the capability in it.
func redactedError(name string, err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return fmt.Errorf("webproxy: %s: %w", name, err)
}

// laneHeader returns the headers of a lane's requests.
func (c *Client) laneHeader(l *lane, headers ...string) []string {
	if c.carrier == HTTPSLanes {
		headers = append(headers, headerLane, strconv.Itoa(l.id))
	}
	return headers
}

// uploads sends a lane's frames until its stream is closed and all are sent. It
// closes opened after the first.
func (c *Client) uploads(l *lane, opened chan struct{}) error {
	var order UpSender
	var size batchSize
	for {
		parts := c.take(l, size.limit())
		if parts == nil {
			c.mu.Lock()
			done := l.done()
			c.mu.Unlock()
			if done {
				return nil
			}
			select {
			case <-l.wake:
			case <-c.ctx.Done():
				return nil
			}
			if c.mayWait(l) {
				time.Sleep(gatherTime)
			}
			continue
		}
		answer, err := c.do(c.ctx, request{
			name: "upload", method: http.MethodPost, path: pathUp, body: parts,
			headers: c.laneHeader(l, headerUp, strconv.FormatUint(order.Next(), 10)),
		})
		if err != nil {
			return err
		}
		acknowledged, err := strconv.ParseUint(answer.header.Get(headerUpAck), 10, 64)
		if err != nil {
			return violation("an upload without an acknowledgement")
		}
		if err := order.Acknowledge(acknowledged); err != nil {
			return err
		}
		c.sent(length(parts))
		if answer.repeated {
			size.repeated()
		} else {
			size.arrived()
		}
		if acknowledged == 1 && l.id > 0 {
			close(opened)
		}
	}
}

// mayWait reports whether a lane has WINDOW frames only, and is about to have more.
// The first one would take the round trip that the others wait for.
func (c *Client) mayWait(l *lane) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	wait := !l.box.empty() && !l.urgent
	l.urgent = false
	return wait
}

// downloads receives a lane's batches until its stream is closed.
func (c *Client) downloads(l *lane) error {
	var order DownReceiver
	for {
		started := time.Now()
		answer, err := c.do(c.ctx, request{
			name: "download", method: http.MethodPost, path: pathDown, limit: MaxBatchLength,
			headers: c.laneHeader(l, headerCursor, strconv.FormatUint(order.Cursor(), 10)),
		})
		if err != nil {
			return err
		}
		if l.id > 0 && answer.header.Get(headerClosed) == "1" {
			c.lose(uint32(l.id), io.EOF)
			return nil
		}
		cursor, err := strconv.ParseUint(answer.header.Get(headerCursor), 10, 64)
		if err != nil {
			return violation("an answer without a cursor")
		}
		if err := order.Receive(cursor, !answer.empty); err != nil {
			return err
		}
		if !answer.empty {
			if err := c.receive(l.id, answer.body, true); err != nil {
				return err
			}
		} else if wait := firstPause - time.Since(started); wait > 0 {
			// A server that does not wait for data would be asked without a pause.
			select {
			case <-time.After(wait):
			case <-c.ctx.Done():
				return nil
			}
		}
	}
}

// dialSocket connects a lane's WebSocket. The end of the session ends that.
func (c *Client) dialSocket(ctx context.Context, l *lane, protocol string) (*clientSocket, error) {
	ctx, cancel := context.WithTimeout(ctx, ioTime)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	ws, resp, err := websocket.Dial(ctx, "wss://"+c.link.Host+c.link.Base()+pathSocket, c.socketOptions(protocol))
	if err != nil {
		if ended := c.failure(); ended != nil {
			return nil, ended
		}
		if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
			return nil, &StatusError{"WebSocket", resp.StatusCode}
		}
		return nil, redactedError("WebSocket", err)
	}
	if ws.Subprotocol() != protocol {
		ws.CloseNow()
		return nil, violation("a WebSocket without the sub-protocol")
	}
	return newClientSocket(c.mux, l, ws), nil
}
