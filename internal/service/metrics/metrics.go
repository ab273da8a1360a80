// Package metrics exposes what a proxy counts, in Prometheus' formats.
//
//	metrics.go  the set of metrics; docs/metrics.md describes each
//	trace.go    what is counted when it happens: hooks of the proxy
//	collect.go  what is read from the proxy for each scrape
//	users.go    sums by user, for a limited number of users
//	labels.go   label values that clients choose, limited in number
//	carry.go    what the processes before this one have counted
//
// Hooks run in the goroutines that serve clients. They find their counters in maps that
// are read without a lock, and allocate nothing.
package metrics

import (
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/mtwire/mtwire/proxy"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// DefaultMaxUsers is the default for Config.MaxUsers.
const DefaultMaxUsers = 1000

// Config configures a set of metrics.
type Config struct {
	// MaxUsers limits the users that have series of their own; the rest is summed. 0
	// means DefaultMaxUsers, a negative value that none has.
	MaxUsers int
	// RefusalCause returns the cause for which a policy has refused a client, in one
	// word, from the policy's error. Nil means that causes are not known.
	RefusalCause func(error) string
	// Version is the program's, for mtwire_build_info.
	Version string
	// Store returns when the usage of users was last written, the zero time for never,
	// and whether that fails now. There is no store if it is nil, or ok is false.
	Store func() (written time.Time, failing, ok bool)
}

// Metrics is the metrics of one proxy. Its methods may be called concurrently.
type Metrics struct {
	registry *prometheus.Registry
	store    func() (written time.Time, failing, ok bool)
	traced   *traced
	users    userTable
	carried  carried

	reloads       *prometheus.CounterVec
	lastReload    prometheus.Gauge
	reloadSuccess prometheus.Gauge

	mu    sync.Mutex
	proxy *proxy.Proxy // nil before Watch
}

// New returns metrics that have counted nothing. The caller passes Trace to the proxy's
// configuration, and then the proxy to Watch.
func New(config Config) *Metrics {
	if config.MaxUsers == 0 {
		config.MaxUsers = DefaultMaxUsers
	}
	m := &Metrics{registry: prometheus.NewRegistry(), store: config.Store, traced: newTraced(config.RefusalCause), users: newUserTable(config.MaxUsers)}
	m.reloads = newCounters("reloads_total", "Reloads of the configuration, by result.", "result")
	m.reloads.WithLabelValues("success")
	m.reloads.WithLabelValues("error")
	m.lastReload = newGauge("last_successful_reload_timestamp_seconds", "When the last reload has succeeded, or the proxy has started.")
	m.lastReload.Set(float64(time.Now().UnixNano()) / 1e9)
	m.reloadSuccess = newGauge("last_reload_successful", "1 if the last reload has succeeded, or there was none.")
	m.reloadSuccess.Set(1)
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "1, with the version of the program and of Go.",
		ConstLabels: prometheus.Labels{"version": config.Version, "goversion": runtime.Version()},
	})
	info.Set(1)
	m.registry.MustRegister(m.reloads, m.lastReload, m.reloadSuccess, info, (*collector)(m),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.registry.MustRegister(m.traced.collectors()...)
	return m
}

// Trace returns the hooks that count what happens.
func (m *Metrics) Trace() *proxy.Trace { return m.traced.trace() }

// Watch makes p the proxy whose numbers are exposed.
func (m *Metrics) Watch(p *proxy.Proxy) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.proxy = p
}

// Reloaded counts a reload, which has failed if err is not nil.
func (m *Metrics) Reloaded(err error) {
	if err != nil {
		m.reloads.WithLabelValues("error").Inc()
		m.reloadSuccess.Set(0)
		return
	}
	m.reloads.WithLabelValues("success").Inc()
	m.reloadSuccess.Set(1)
	m.lastReload.SetToCurrentTime()
}

// maxScrapes limits the scrapes at one time.
const maxScrapes = 4

// Handler returns the handler of /metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m, promhttp.HandlerOpts{
		MaxRequestsInFlight: maxScrapes, EnableOpenMetrics: true,
	})
}
