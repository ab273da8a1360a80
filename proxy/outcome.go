package proxy

import (
	"errors"
	"io"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/internal/admission"
	"github.com/mtwire/mtwire/internal/handshake"
)

// Outcome is what became of a connection: a word for Report.Err and Report.Stage.
type Outcome uint8

// The outcomes, in the order of the stages.
const (
	// OutcomeSilent: the client has sent nothing.
	OutcomeSilent Outcome = iota
	// OutcomeEvicted: it was closed to make room for another one.
	OutcomeEvicted
	// OutcomeRefused: the client has a secret, and the policy did not admit it, or
	// Config.Permit did not permit its address.
	OutcomeRefused
	// OutcomeUnauthenticated: the client has not shown a secret, or not completed its
	// handshake. Report.Failure has the reason.
	OutcomeUnauthenticated
	// OutcomeCarrier: it has carried streams of the web site's relay.
	OutcomeCarrier
	// OutcomeLooped: the client was the proxy itself.
	OutcomeLooped
	// OutcomeUnreachable: the data centre could not be connected, or the connection
	// was closed before it was.
	OutcomeUnreachable
	// OutcomeUnanswered: the data centre was connected and has sent nothing.
	OutcomeUnanswered
	// OutcomeAnswered: the data centre has sent bytes.
	OutcomeAnswered
)

var outcomeNames = [...]string{
	"silent", "evicted", "refused", "unauthenticated", "carrier", "looped", "unreachable", "unanswered", "answered",
}

// Outcomes returns all outcomes.
func Outcomes() (all []Outcome) {
	for o := range outcomeNames {
		all = append(all, Outcome(o))
	}
	return all
}

// String returns the outcome in one word, such as "answered".
func (o Outcome) String() string {
	if int(o) >= len(outcomeNames) {
		return "unknown"
	}
	return outcomeNames[o]
}

// Outcome returns what became of a connection that has ended with r.
func (r *Report) Outcome() Outcome {
	switch {
	case r.Stage >= FirstByteDown:
		return OutcomeAnswered
	case r.Stage >= Dialled:
		return OutcomeUnanswered
	case r.Carrier:
		return OutcomeCarrier
	case r.Stage < Authenticated && errors.Is(r.Err, admission.ErrEvicted):
		return OutcomeEvicted
	case r.Stage == Accepted:
		return OutcomeSilent
	case r.Stage < Authenticated && errors.Is(r.Err, errRefused):
		return OutcomeRefused
	case r.Stage < Authenticated:
		return OutcomeUnauthenticated
	case errors.Is(r.Err, errLoop):
		return OutcomeLooped
	}
	return OutcomeUnreachable
}

// errRefused is what every refusal is.
var errRefused = errors.New("refused by the policy")

// Is reports that r is errRefused.
func (r *refusal) Is(target error) bool { return target == errRefused }

// Failure is why a client that has sent something is not authenticated.
type Failure uint8

// The failures. NoFailure is that of clients that are authenticated, or have sent
// nothing, or were evicted.
const (
	NoFailure           Failure = iota
	FailureNoSecret             // no secret matches what the client has sent, with the domain that it names
	FailureTransport            // its first bytes are no MTProxy client's
	FailureNotSearched          // it was not searched for among all secrets
	FailureMode                 // its secret, or the proxy, does not allow the mode
	FailureClock                // the hello's time is outside of Config.ClockWindow
	FailureReplay               // the handshake was seen before
	FailureMalformed            // what came behind the hello is no handshake
	FailureTimeout              // it did not complete the handshake in time
	FailureFrontingHost         // the fronting host has acted before it did
	FailureClientEnded          // it ended its stream before
	FailureOther                // anything else, such as an error of the socket
)

var failureNames = [...]string{
	"", "no_secret", "transport", "not_searched", "mode", "clock", "replay", "malformed", "timeout", "fronting_host",
	"client_ended", "other",
}

// Failures returns all failures but NoFailure.
func Failures() (all []Failure) {
	for f := FailureNoSecret; f <= FailureOther; f++ {
		all = append(all, f)
	}
	return all
}

// String returns the failure in one word, "" for NoFailure.
func (f Failure) String() string {
	if int(f) >= len(failureNames) {
		return "unknown"
	}
	return failureNames[f]
}

// failuresByError are the failures that an error tells, the most special ones first.
var failuresByError = []struct {
	err     error
	failure Failure
}{
	{errMode, FailureMode},
	{handshake.ErrReplay, FailureReplay},
	{handshake.ErrNotSearched, FailureNotSearched},
	{faketls.ErrStaleClock, FailureClock},
	{handshake.ErrShortRecord, FailureMalformed},
	{errHostActed, FailureFrontingHost},
	{errClientGone, FailureClientEnded},
	{errNoAnswer, FailureTimeout},
	{handshake.ErrTimeout, FailureTimeout},
	{handshake.ErrNoMatch, FailureNoSecret},
	{handshake.ErrUnknown, FailureTransport},
	{faketls.ErrMalformed, FailureMalformed},
	{io.ErrUnexpectedEOF, FailureClientEnded},
}

// Failure returns why the client of a connection that has ended with r is not
// authenticated.
func (r *Report) Failure() Failure {
	if r.Outcome() != OutcomeUnauthenticated {
		return NoFailure
	}
	for _, known := range failuresByError {
		if errors.Is(r.Err, known.err) {
			return known.failure
		}
	}
	return FailureOther
}
