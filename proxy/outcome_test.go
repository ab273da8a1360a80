package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/admission"
	"github.com/mtwire/mtwire/internal/handshake"
	"github.com/mtwire/mtwire/mtwiretest"
)

// The outcome follows from the stage, and before the client's secret also from the
// error.
func TestOutcomeOfAReport(t *testing.T) {
	refused := &refusal{errors.New("disabled")}
	evicted := &admission.EvictedError{Scope: admission.Total}
	for _, test := range []struct {
		stage Stage
		err   error
		want  Outcome
	}{
		{Accepted, nil, OutcomeSilent},
		{Accepted, net.ErrClosed, OutcomeSilent},
		{Accepted, evicted, OutcomeEvicted},
		{ClientBytes, evicted, OutcomeEvicted},
		{ClientBytes, refused, OutcomeRefused},
		{ClientBytes, handshake.ErrNoMatch, OutcomeUnauthenticated},
		{ClientBytes, errStopping, OutcomeUnauthenticated},
		{ServerHelloSent, io.EOF, OutcomeUnauthenticated},
		{Authenticated, errLoop, OutcomeLooped},
		{Authenticated, errors.New("refused"), OutcomeUnreachable},
		{Dialled, nil, OutcomeUnanswered},
		{FirstByteUp, io.EOF, OutcomeUnanswered},
		{FirstByteDown, nil, OutcomeAnswered},
		{FirstByteDown, evicted, OutcomeAnswered},
	} {
		// As the session's end has it.
		r := Report{Stage: test.stage, Err: &redactedError{err: errors.Join(test.err, errors.New("tunnel"))}}
		if test.err == nil {
			r.Err = nil
		}
		if got := r.Outcome(); got != test.want {
			t.Errorf("%v, %v: %v, want %v", test.stage, test.err, got, test.want)
		}
		if failed := r.Failure() != NoFailure; failed != (test.want == OutcomeUnauthenticated) {
			t.Errorf("%v, %v: %q", test.stage, test.err, r.Failure())
		}
	}
	seen := make(map[string]bool)
	for _, o := range Outcomes() {
		seen[o.String()] = true
	}
	for _, f := range Failures() {
		seen[f.String()] = true
	}
	if len(seen) != len(outcomeNames)+len(failureNames)-1 || seen[""] || seen["unknown"] {
		t.Error(seen)
	}
}

// Clients that are not authenticated have the reason in their report.
func TestFailureOfAClient(t *testing.T) {
	known := Config{Users: onlyUser(t, mtwiretest.PaddedSecret, mtwiretest.FakeTLSSecret)}
	key := secretOf(t, mtwiretest.PaddedSecret).Key
	fake := secretOf(t, mtwiretest.FakeTLSSecret)
	for name, test := range map[string]struct {
		first []byte
		want  Failure
	}{
		"noise":         {initOf(t, keyOf(1), frame.Abridged), FailureNoSecret},
		"another hello": {helloOf(t, keyOf(1), "a.example"), FailureNoSecret},
		// Made outside of the bubble, whose clock differs.
		"another clock": {helloOf(t, fake.Key, fake.Domain), FailureClock},
		"plain HTTP":    {[]byte("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"), FailureTransport},
		"classic":       {initOf(t, key, frame.Abridged), FailureMode},
		"a part":        {initOf(t, key, frame.PaddedIntermediate)[:20], FailureClientEnded},
	} {
		t.Run(name, func(t *testing.T) {
			ended := &reports{}
			config := known
			config.Traces = []*Trace{ended.trace()}
			inBubble(t, config, nil, func(t *testing.T, b *bubble) {
				conn := b.connect()
				conn.Write(test.first)
				time.Sleep(time.Second)
				conn.Close()
				if r := ended.wait(t, 1)[0]; r.Outcome() != OutcomeUnauthenticated || r.Failure() != test.want {
					t.Errorf("%v, %q (%v), want %q", r.Outcome(), r.Failure(), r.Err, test.want)
				}
			})
		})
	}
	ended := &reports{}
	address := start(t, Config{Replay: replays{}, Users: known.Users, Traces: []*Trace{ended.trace()}})
	conn, err := net.Dial("tcp", address.String())
	if err != nil {
		t.Fatal(err)
	}
	conn.Write(initOf(t, key, frame.PaddedIntermediate))
	conn.(*net.TCPConn).CloseWrite()
	if r := ended.wait(t, 1)[0]; r.Failure() != FailureReplay {
		t.Errorf("a replay: %q (%v)", r.Failure(), r.Err)
	}
	conn.Close()
}

// timeoutError is a time limit, as package net has it.
type timeoutError struct{ error }

func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }

// The cause of a failed attempt is found below what package net and the router add.
func TestFailureOfAnAttempt(t *testing.T) {
	for want, errs := range map[AttemptFailure][]error{
		"":                 {nil},
		AttemptTimeout:     {context.DeadlineExceeded, timeoutError{errors.New("slow")}, syscall.ETIMEDOUT},
		AttemptRefused:     {syscall.ECONNREFUSED},
		AttemptReset:       {io.EOF, syscall.ECONNRESET, syscall.EPIPE},
		AttemptUnreachable: {syscall.EHOSTUNREACH},
		AttemptUnresolved:  {&net.DNSError{Err: "no such host", Name: "dc.test"}},
		AttemptLocal:       {syscall.EMFILE, syscall.ENOMEM},
		AttemptOther:       {errors.New("the password is wrong")},
	} {
		for _, err := range errs {
			a := Attempt{Err: err}
			if err != nil {
				a.Err = fmt.Errorf("192.0.2.1:443 (direct): %w", &net.OpError{Op: "dial", Err: err})
			}
			if got := a.Failure(); got != want {
				t.Errorf("%v: %q, want %q", err, got, want)
			}
		}
	}
}
