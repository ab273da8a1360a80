package metrics

import (
	"cmp"
	"errors"
	"net"
	"strconv"
	"time"

	"github.com/mtwire/mtwire/internal/admission"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/proxy"
	"github.com/prometheus/client_golang/prometheus"
)

// traced are the metrics that hooks of the proxy count.
type traced struct {
	refusalCause func(error) string

	dcs       *dataCenters
	upstreams *names[string]
	causes    *names[string]
	codes     *names[uint32]

	closed         *prometheus.CounterVec
	failures       *prometheus.CounterVec
	refusals       *prometheus.CounterVec
	evictions      *prometheus.CounterVec
	fronted        prometheus.Counter
	dials          *prometheus.HistogramVec
	dialErrors     *prometheus.CounterVec
	answers        *prometheus.HistogramVec
	unanswered     *prometheus.CounterVec
	stalls         *prometheus.CounterVec
	transportError *prometheus.CounterVec
	acceptErrors   prometheus.Counter

	boundClosed   *bound[ending, prometheus.Counter]
	boundFailures *bound[proxy.Failure, prometheus.Counter]
	boundDials    *bound[connection, prometheus.Observer]
	boundAnswers  *bound[connection, prometheus.Observer]
}

// ending is the labels of a connection that has ended.
type ending struct {
	mode    mtproxy.Modes
	dc      string
	outcome proxy.Outcome
}

// connection is the labels of a connection to a data centre.
type connection struct{ dc, upstream string }

// Buckets of times, in seconds. A data centre is some ten to two hundred milliseconds
// away; an attempt takes five seconds at most, and clients give up after four or more.
var (
	dialBuckets   = []float64{.005, .01, .025, .05, .1, .2, .3, .5, 1, 2.5, 5}
	answerBuckets = []float64{.01, .025, .05, .1, .2, .3, .5, 1, 2.5, 5, 10, 30}
)

func newTraced(refusalCause func(error) string) *traced {
	histogram := func(name, help string, buckets []float64) *prometheus.HistogramVec {
		helpOf.Store(namespace+"_"+name, help)
		return prometheus.NewHistogramVec(
			prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}, []string{"dc", "upstream"})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
	}
	t := &traced{
		refusalCause: refusalCause, dcs: newDataCenters(), upstreams: new(names[string]), causes: new(names[string]), codes: new(names[uint32]),

		closed: newCounters("connections_closed_total",
			"Client connections that have ended, by mode and data centre of the client, and by what became of them.", "mode", "dc", "outcome"),
		failures: newCounters("handshake_failures_total",
			"Clients that have sent something and were not authenticated, by cause.", "cause"),
		refusals: newCounters("refusals_total",
			"Clients with a secret that the limits of their user did not admit, by cause.", "cause"),
		evictions: newCounters("evictions_total",
			"Unauthenticated connections that were closed to make room for others, by the limit that was reached.", "limit"),
		fronted: counter("fronted_connections_total",
			"Unauthenticated connections that were tunneled to a fronting host and have ended."),
		dials: histogram("dial_duration_seconds",
			"Time of successful attempts to connect to a data centre, with the handshakes of the upstream.", dialBuckets),
		dialErrors: newCounters("dial_errors_total",
			"Attempts to connect to a data centre that have failed, by cause.", "dc", "upstream", "cause"),
		answers: histogram("first_answer_duration_seconds",
			"Time from a client's first packet to the data centre's first byte.", answerBuckets),
		unanswered: newCounters("unanswered_total",
			"Connections to a data centre that were not answered in time, or have ended before the first byte.", "dc", "upstream"),
		stalls: newCounters("stalls_total",
			"Sessions whose data centre took bytes and answered nothing for the stall timeout.", "dc", "upstream"),
		transportError: newCounters("transport_errors_total",
			"Sessions that began with a transport error from the data centre, by its code.", "code"),
		acceptErrors: counter("accept_errors_total",
			"Times that a listener could not accept a connection for want of a system resource."),
	}
	t.boundClosed = &bound[ending, prometheus.Counter]{member: func(e ending) prometheus.Counter {
		return t.closed.WithLabelValues(modeLabel(e.mode), e.dc, e.outcome.String())
	}}
	t.boundFailures = &bound[proxy.Failure, prometheus.Counter]{member: func(f proxy.Failure) prometheus.Counter {
		return t.failures.WithLabelValues(f.String())
	}}
	t.boundDials = &bound[connection, prometheus.Observer]{member: func(c connection) prometheus.Observer {
		return t.dials.WithLabelValues(c.dc, c.upstream)
	}}
	t.boundAnswers = &bound[connection, prometheus.Observer]{member: func(c connection) prometheus.Observer {
		return t.answers.WithLabelValues(c.dc, c.upstream)
	}}
	t.begin()
	return t
}

// begin makes the series whose labels are known, so that their first increase is seen.
func (t *traced) begin() {
	for _, f := range proxy.Failures() {
		t.boundFailures.of(f)
	}
	for _, scope := range []admission.Scope{admission.Address, admission.Site, admission.Total} {
		t.evictions.WithLabelValues(scope.String())
	}
	for _, outcome := range proxy.Outcomes() {
		if outcome < proxy.OutcomeLooped {
			t.boundClosed.of(ending{0, unknown, outcome})
		}
	}
}

// modeLabel returns the mode of a client, which is not known before it has a secret.
func modeLabel(mode mtproxy.Modes) string {
	if mode == 0 {
		return unknown
	}
	return mode.String()
}

func (t *traced) collectors() []prometheus.Collector {
	return []prometheus.Collector{t.closed, t.failures, t.refusals, t.evictions, t.fronted, t.dials, t.dialErrors,
		t.answers, t.unanswered, t.stalls, t.transportError, t.acceptErrors}
}

func (t *traced) trace() *proxy.Trace {
	return &proxy.Trace{
		Refused:   t.countRefused,
		Attempted: t.countAttempt,
		Answered: func(_ proxy.Session, a proxy.Answer) {
			if a.Waited > 0 {
				t.boundAnswers.of(connection{t.dcs.of(a.DC), t.upstream(a.Upstream)}).Observe(a.Waited.Seconds())
			}
		},
		Unanswered: func(s proxy.Session, _ error) {
			r := s.Report()
			t.unanswered.WithLabelValues(t.dcs.of(r.DC), t.upstream(r.Upstream)).Inc()
		},
		Stalled: func(s proxy.Session, _ time.Duration) {
			r := s.Report()
			t.stalls.WithLabelValues(t.dcs.of(r.DC), t.upstream(r.Upstream)).Inc()
		},
		TransportError: func(_ proxy.Session, code uint32) {
			text := t.codes.limit(code, func(code uint32) string { return strconv.FormatUint(uint64(code), 10) })
			t.transportError.WithLabelValues(text).Inc()
		},
		Evicted:       t.countEvicted,
		AcceptDelayed: func(net.Addr, error) { t.acceptErrors.Inc() },
		Closed:        t.countClosed,
	}
}

func (t *traced) upstream(name string) string { return t.upstreams.limit(name, identity) }

// countRefused counts a refusal by its cause, "policy" if that is not known.
func (t *traced) countRefused(_ proxy.Session, err error) {
	cause := ""
	if t.refusalCause != nil {
		cause = t.refusalCause(err)
	}
	cause = cmp.Or(cause, "policy")
	t.refusals.WithLabelValues(t.causes.limit(cause, identity)).Inc()
}

func (t *traced) countAttempt(a proxy.Attempt) {
	dc, upstream := t.dcs.of(a.DC), t.upstream(a.Upstream)
	if a.Err == nil {
		t.boundDials.of(connection{dc, upstream}).Observe(a.Duration.Seconds())
		return
	}
	t.dialErrors.WithLabelValues(dc, upstream, string(a.Failure())).Inc()
}

func (t *traced) countEvicted(_ proxy.Session, reason error) {
	scope := admission.Total
	var evicted *admission.EvictedError
	if errors.As(reason, &evicted) {
		scope = evicted.Scope
	}
	t.evictions.WithLabelValues(scope.String()).Inc()
}

func (t *traced) countClosed(_ proxy.Session, r proxy.Report) {
	e := ending{r.Mode, unknown, r.Outcome()}
	if r.Stage >= proxy.Authenticated {
		e.dc = t.dcs.of(r.DC)
	}
	t.boundClosed.of(e).Inc()
	if failure := r.Failure(); failure != proxy.NoFailure {
		t.boundFailures.of(failure).Inc()
	}
	if r.Front != "" {
		t.fronted.Inc()
	}
}
