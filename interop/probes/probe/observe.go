package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mtwire/mtwire/interop/probes/tlswire"
)

// End is how a connection ended.
type End string

// The ends. With EndOpen the prober gave up.
const (
	EndFin   End = "fin"
	EndReset End = "reset"
	EndOpen  End = "open"
)

// Observation is what a prober sees of one connection. Times are since it was
// connected.
type Observation struct {
	Lines      []string      `json:"lines"` // the received bytes, described
	Arrivals   []Arrival     `json:"arrivals,omitempty"`
	End        End           `json:"end"`
	EndAt      time.Duration `json:"end_at"`
	KeepAlives []Keepalive   `json:"keep_alives,omitempty"`
	Transcript string        `json:"transcript,omitempty"`
	// Error is the cause of a failure of the prober itself, not of the peer.
	Error string `json:"error,omitempty"`
}

// Arrival is a number of bytes that arrived by a time.
type Arrival struct {
	At    time.Duration `json:"at"`
	Total int           `json:"total"`
}

// Keepalive is the time at which the kernel received a segment without data
// although nothing was sent to the peer.
type Keepalive = time.Duration

const (
	// sampleInterval is the time between two looks at the number of segments.
	sampleInterval = 500 * time.Millisecond
	// quietTime is the time without data after which a segment is a keep-alive,
	// and not an acknowledgement.
	quietTime = 2 * time.Second
	// resetWait is the time within which a reset that follows a FIN counts as the
	// end, for the two may arrive in one moment.
	resetWait = 150 * time.Millisecond
)

// Observe makes one connection to address with the probe, and observes it for at
// most limit. e must be the Env of that address.
func Observe(ctx context.Context, p *Probe, address string, e *Env, limit time.Duration) Observation {
	var script []Step
	if p.Steps != nil {
		var err error
		if script, err = p.Steps(e); err != nil {
			return Observation{Error: err.Error()}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := (&net.Dialer{KeepAlive: -1}).DialContext(ctx, "tcp", address)
	if err != nil {
		return Observation{Error: err.Error()}
	}
	r := &recorder{TCPConn: conn.(*net.TCPConn), start: time.Now(), first: make(chan struct{}), ended: make(chan struct{})}
	defer func() {
		r.SetLinger(0) // the peer need not wait for anything
		r.TCPConn.Close()
	}()
	defer context.AfterFunc(ctx, func() { r.SetDeadline(time.Now()) })()

	var running sync.WaitGroup
	if p.Converse != nil {
		// The dialogue reads for itself.
		limited, cancel := context.WithTimeout(ctx, dialogueTimeout)
		r.o.Transcript, err = p.Converse(limited, r, e)
		cancel()
		if err != nil {
			r.o.Transcript += "failed: " + err.Error()
		}
	} else {
		running.Go(func() { r.play(ctx, script) })
	}
	running.Go(r.readAll)
	running.Go(func() { r.countSegments(ctx) })
	<-r.ended
	if r.o.End == EndFin {
		r.awaitReset()
	}
	cancel()
	running.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.o.KeepAlives = before(r.o.KeepAlives, r.o.EndAt) // and not the end itself
	r.o.Lines = tlswire.Describe(r.received, sentSessionID(r.sent))
	switch {
	case p.OnlyTranscript:
		r.o.Lines, r.o.Arrivals = nil, nil
	case p.MergeRecords:
		r.o.Lines = tlswire.Merge(r.o.Lines)
	}
	return r.o
}

// recorder is a connection that records what arrives. Close does nothing: the
// observation goes on after a dialogue.
type recorder struct {
	*net.TCPConn
	start time.Time
	first chan struct{} // closed at the first byte
	ended chan struct{} // closed when nothing more will arrive

	mu       sync.Mutex
	sent     []byte // the beginning
	received []byte
	active   time.Time // when data was last sent or received
	finSent  bool
	broken   bool // a write has failed with a reset
	o        Observation
}

func (r *recorder) Close() error { return nil }

func (r *recorder) Write(b []byte) (int, error) {
	n, err := r.TCPConn.Write(b)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.active = time.Now()
	if len(r.sent) < 512 {
		r.sent = append(r.sent, b[:n]...)
	}
	r.broken = r.broken || errors.Is(err, syscall.ECONNRESET)
	return n, err
}

func (r *recorder) CloseWrite() error {
	r.mu.Lock()
	r.active, r.finSent = time.Now(), true
	r.mu.Unlock()
	return r.TCPConn.CloseWrite()
}

func (r *recorder) Read(b []byte) (int, error) {
	n, err := r.TCPConn.Read(b)
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Since(r.start)
	if n > 0 {
		if len(r.received) == 0 {
			close(r.first)
		}
		r.active = time.Now()
		r.received = append(r.received, b[:n]...)
		r.o.Arrivals = append(r.o.Arrivals, Arrival{now, len(r.received)})
	}
	if err != nil && r.o.End == "" {
		r.o.EndAt = now
		switch {
		case errors.Is(err, syscall.ECONNRESET), err == io.EOF && r.broken:
			r.o.End = EndReset
		case err == io.EOF:
			r.o.End = EndFin
		default:
			r.o.End = EndOpen
		}
		close(r.ended)
	}
	return n, err
}

// readAll reads until the end.
func (r *recorder) readAll() {
	b := make([]byte, 64<<10)
	for {
		if _, err := r.Read(b); err != nil {
			return
		}
	}
}

// play sends a script. It ends early when a write fails.
func (r *recorder) play(ctx context.Context, script []Step) {
	for _, step := range script {
		if step.Await {
			r.awaitFirst(ctx)
		}
		if len(step.Data) > 0 {
			if _, err := r.Write(step.Data); err != nil {
				return
			}
		}
		if step.Fin {
			r.CloseWrite()
		}
		if step.Pause > 0 && !sleep(ctx, step.Pause) {
			return
		}
	}
}

func (r *recorder) awaitFirst(ctx context.Context) {
	limit := time.NewTimer(awaitLimit)
	defer limit.Stop()
	select {
	case <-r.first:
		// The rest of the flight is to arrive before the answer.
		sleep(ctx, 50*time.Millisecond)
	case <-limit.C:
	case <-r.ended:
	}
}

// sleep reports whether ctx did not end within d.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// awaitReset waits after a FIN, and changes the end to a reset if one follows. If
// the prober itself has closed its direction, the kernel forgets the connection
// either way, and the end stays.
func (r *recorder) awaitReset() {
	time.Sleep(resetWait)
	info, err := r.info()
	r.mu.Lock()
	defer r.mu.Unlock()
	const tcpClose = 7
	if err == nil && info.State == tcpClose && !r.finSent {
		r.o.End = EndReset
	}
}

// info returns what the kernel knows of the connection.
func (r *recorder) info() (info *unix.TCPInfo, err error) {
	raw, err := r.SyscallConn()
	if err != nil {
		return nil, err
	}
	if failed := raw.Control(func(fd uintptr) {
		info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	}); failed != nil {
		return nil, failed
	}
	return info, err
}

// countSegments notes the segments that arrive although no data is underway.
func (r *recorder) countSegments(ctx context.Context) {
	last := uint32(0)
	for sleep(ctx, sampleInterval) {
		info, err := r.info()
		if err != nil {
			return
		}
		r.mu.Lock()
		ended := r.o.End != ""
		quiet := r.active
		if quiet.IsZero() {
			quiet = r.start
		}
		if n := info.Segs_in; n > last && last > 0 && !ended && time.Since(quiet) > quietTime {
			r.o.KeepAlives = append(r.o.KeepAlives, time.Since(r.start))
		}
		r.mu.Unlock()
		if last = info.Segs_in; ended {
			return
		}
	}
}

// Summary is the observation in a few words.
func (o Observation) Summary() string {
	if o.Error != "" {
		return "not observed: " + o.Error
	}
	if o.End == "" { // of a check
		return o.Transcript
	}
	var parts []string
	if len(o.Arrivals) > 0 {
		first, last := o.Arrivals[0], o.Arrivals[len(o.Arrivals)-1]
		parts = append(parts, fmt.Sprintf("%d bytes at %.1f s", last.Total, first.At.Seconds()))
		if last.At-first.At > tolerance {
			parts = append(parts, fmt.Sprintf("the last at %.1f s", last.At.Seconds()))
		}
	}
	if len(o.KeepAlives) > 0 {
		parts = append(parts, fmt.Sprintf("%d keep-alives from %.1f s on", len(o.KeepAlives), o.KeepAlives[0].Seconds()))
	}
	return strings.Join(append(parts, fmt.Sprintf("%s at %.1f s", o.End, o.EndAt.Seconds())), ", ")
}
