package metrics

import (
	"strings"
	"time"

	"github.com/mtwire/mtwire/proxy"
	"github.com/prometheus/client_golang/prometheus"
)

// collector reads the numbers that the proxy keeps itself, for each scrape.
type collector Metrics

func desc(name, help string, labels ...string) *prometheus.Desc {
	helpOf.Store(namespace+"_"+name, help)
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
}

var (
	connections   = desc("connections", "Client connections that are open, by stage.", "stage")
	relaying      = desc("relaying_connections", "Client connections that are connected to a data centre.")
	pending       = desc("unauthenticated_connections", "Client connections that are open and not authenticated.")
	pendingLimit  = desc("unauthenticated_connections_limit", "Limit of the connections that are not authenticated.")
	fronted       = desc("fronted_connections", "Unauthenticated connections that are connected to a fronting host.")
	frontedLimit  = desc("fronted_connections_limit", "Limit of the unauthenticated connections that are connected to a fronting host.")
	accepted      = desc("connections_accepted_total", "Client connections that were accepted.")
	authenticated = desc("connections_authenticated_total", "Client connections that were authenticated.")
	skipped       = desc("searches_skipped_total", "Clients that were not searched for among all secrets.")
	framing       = desc("framing_refusals_total", "Authenticated clients whose framing no upstream takes.")
	addresses     = desc("address_refusals_total", "Clients from addresses that the lists of networks, or the rate of unauthenticated connections, do not permit.")
	moves         = desc("moves_total", "Clients that were moved on to another address or upstream.")
	looped        = desc("loops_total", "Clients that were the proxy itself, because an upstream leads back to it.")
	bytes         = desc("bytes_total", "Bytes of all client connections, without record headers.", "direction")

	users           = desc("users", "Users that there are.")
	userBytes       = desc("user_bytes_total", "Bytes of a user's connections, without record headers.", "user", "direction")
	userConnections = desc("user_connections", "Authenticated connections of a user that are open.", "user")
	userAccepted    = desc("user_connections_total", "Connections of a user that were authenticated.", "user")

	storeFailing = desc("store_failing", "1 if the usage of users cannot be written.")
	storeWritten = desc("store_last_write_timestamp_seconds", "When the usage of users was last written.")

	dataCenterUp    = desc("data_center_up", "1 if a data centre answers, or no session has found out otherwise.", "dc")
	dataCenterHeard = desc("data_center_last_byte_timestamp_seconds", "When a data centre has sent a byte last.", "dc")
	upstreamUp      = desc("upstream_up", "1 if connections to an upstream succeed, or there were none.", "upstream")
)

var all = []*prometheus.Desc{
	connections, relaying, pending, pendingLimit, fronted, frontedLimit, accepted, authenticated, skipped, framing, addresses, moves,
	looped, bytes, users, userBytes, userConnections, userAccepted, storeFailing, storeWritten, dataCenterUp, dataCenterHeard, upstreamUp,
}

// Describe sends the descriptions of all metrics of Collect.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range all {
		to <- d
	}
}

// Collect sends the numbers of the proxy, or none before Watch.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	c.mu.Lock()
	p := c.proxy
	c.mu.Unlock()
	if p == nil {
		return
	}
	send := sender{to}
	send.stats(c.userStats(p, send), p.Limits())
	send.gauge(users, len(p.Users()))
	if c.store != nil {
		if written, failing, ok := c.store(); ok {
			send.gauge(storeFailing, truth(failing))
			if !written.IsZero() {
				send.gaugeFloat(storeWritten, float64(written.UnixNano())/1e9)
			}
		}
	}
	c.dataCenters(p.DataCenters(), send)
	up := make(map[string]bool) // two upstreams may differ in their credentials only
	for _, u := range p.Upstreams() {
		up[u.Upstream] = up[u.Upstream] || !u.Failing
	}
	for name, up := range up {
		send.gauge(upstreamUp, truth(up), name)
	}
}

// dataCenters sends the states of data centres. Those beyond a limit share a label, and
// have an answer if one of them has.
func (c *collector) dataCenters(all []proxy.DataCenterStatus, send sender) {
	up, heard := make(map[string]bool), make(map[string]time.Time)
	for _, dc := range all {
		label := c.traced.dcs.of(dc.DC)
		if label == unknown { // number 0 stands for those beyond the proxy's own limit
			label = other
		}
		up[label] = up[label] || dc.State == proxy.Answering
		if dc.Heard.After(heard[label]) {
			heard[label] = dc.Heard
		}
	}
	for label, up := range up {
		send.gauge(dataCenterUp, truth(up), label)
	}
	for label, heard := range heard {
		send.gaugeFloat(dataCenterHeard, float64(heard.UnixNano())/1e9, label)
	}
}

// userStats sends the sums of users, and returns those of all connections. Scrapes take
// turns, so that no later one has older numbers.
func (c *collector) userStats(p *proxy.Proxy, send sender) proxy.Stats {
	c.users.mu.Lock()
	defer c.users.mu.Unlock()
	stats, all, gone := p.StatsByUser()
	own, others, any := c.users.update(all, gone)
	for _, u := range own {
		send.user(u.Name, u)
	}
	if any {
		send.user(othersName, others)
	}
	return stats
}

// sender makes metrics of numbers.
type sender struct{ to chan<- prometheus.Metric }

func (s sender) gauge(d *prometheus.Desc, n int, labels ...string) {
	s.gaugeFloat(d, float64(n), labels...)
}

func (s sender) gaugeFloat(d *prometheus.Desc, value float64, labels ...string) {
	s.to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func (s sender) counter(d *prometheus.Desc, n int64, labels ...string) {
	s.to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
}

func (s sender) directions(d *prometheus.Desc, up, down int64, labels ...string) {
	s.counter(d, up, append(labels, proxy.Upload.String())...)
	s.counter(d, down, append(labels, proxy.Download.String())...)
}

func (s sender) stats(stats proxy.Stats, limits proxy.Limits) {
	for stage, n := range stats.Stages {
		s.gauge(connections, int(n), strings.ReplaceAll(proxy.Stage(stage).String(), " ", "_"))
	}
	s.gauge(relaying, int(stats.Relaying))
	s.gauge(pending, int(stats.Pending))
	s.gauge(pendingLimit, limits.Unauthenticated)
	s.gauge(fronted, int(stats.Fronted))
	s.gauge(frontedLimit, limits.Fronted)
	s.counter(accepted, stats.Accepted)
	s.counter(authenticated, stats.Authenticated)
	s.counter(skipped, stats.SearchesSkipped)
	s.counter(framing, stats.RefusedFraming)
	s.counter(addresses, stats.RefusedAddress)
	s.counter(moves, stats.Moved)
	s.counter(looped, stats.Loops)
	s.directions(bytes, stats.Up, stats.Down)
}

func (s sender) user(name string, u proxy.UserStats) {
	s.directions(userBytes, u.Up, u.Down, name)
	s.gauge(userConnections, int(u.Open), name)
	s.counter(userAccepted, u.Connections, name)
}

func truth(is bool) int {
	if is {
		return 1
	}
	return 0
}
