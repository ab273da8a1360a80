package fronting

import (
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/internal/proxyprotocol"
)

// Finding is what was measured of a host, or of its answers to one kind of ClientHello:
// another process can begin with it. As JSON it is part of the format of an upgrade: see
// docs/upgrade.md.
type Finding struct {
	Domain        string                `json:"domain"`
	Address       string                `json:"address"`
	ProxyProtocol proxyprotocol.Version `json:"proxy_protocol,omitempty"`

	// Hello is one of the kind, and Browser reports whether it is a browser's. A finding
	// without a hello is about the host.
	Hello   []byte        `json:"hello,omitempty"`
	Browser bool          `json:"browser,omitempty"`
	Answers []Answer      `json:"answers,omitempty"`
	Unused  time.Duration `json:"unused,omitempty"` // since a client has sent it last, in nanoseconds

	Tickets  []int         `json:"tickets,omitempty"`
	Ramp     []int         `json:"ramp,omitempty"`
	Max      int           `json:"max,omitempty"`
	Patience time.Duration `json:"patience,omitempty"` // in nanoseconds
}

// Answer is a host's answer to a ClientHello.
type Answer struct {
	DataSize      int    `json:"size"`
	CipherSuite   uint16 `json:"cipher_suite"`
	Group         uint16 `json:"group"`
	VersionsFirst bool   `json:"versions_first,omitempty"`
	TLS13         bool   `json:"tls13,omitempty"`
	Retry         bool   `json:"retry,omitempty"`
	Records       int    `json:"records,omitempty"`
}

// Findings returns what was measured of the hosts. That a host is this proxy is not among
// it: the next process has another address, or finds out again.
func (p *Pool) Findings() iter.Seq[Finding] {
	var all []Finding
	for _, h := range p.hosts.Load().hosts {
		all = append(all, h.findings()...)
	}
	return slices.Values(all)
}

func (h *host) findings() (all []Finding) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.browser == nil {
		return nil // it was not measured
	}
	about := Finding{Domain: h.Domain, Address: h.Address, ProxyProtocol: h.ProxyProtocol}
	host := about
	host.Tickets, host.Ramp, host.Max, host.Patience = h.records.Tickets, h.records.Ramp, h.records.Max, h.patience
	for _, k := range h.kinds {
		f := about
		f.Hello, f.Browser = k.hello, k == h.browser
		if f.Browser {
			f.Hello, _ = browserHello(h.Domain)
		} else {
			f.Unused = time.Since(k.used)
		}
		for _, a := range k.answers {
			s := a.shape
			f.Answers = append(f.Answers, Answer{s.DataSize, s.CipherSuite, s.Group, s.VersionsFirst, a.tls13, a.retry, a.records})
		}
		if len(f.Hello) > 0 && len(f.Answers) > 0 {
			all = append(all, f)
		}
	}
	return append(all, host)
}

// Add makes p know a finding of another process about a host that it has, the same in all
// fields, and has not measured itself. Run measures it again soon.
func (p *Pool) Add(f Finding) {
	h := p.hosts.Load().find(f.Domain)
	if h == nil || h.Host != (Host{strings.ToLower(f.Domain), f.Address, f.ProxyProtocol}) {
		return
	}
	if len(f.Hello) == 0 {
		h.addRecords(f)
		return
	}
	hello, _, err := faketls.ParseClientHello(f.Hello)
	if err != nil || len(f.Answers) == 0 || len(f.Hello) > maxTemplate {
		return
	}
	k := &kind{key: hello.Kind(), hello: f.Hello, tried: true, used: time.Now().Add(-max(f.Unused, 0))}
	for _, a := range f.Answers[:min(len(f.Answers), probesPerRound)] {
		if a.DataSize < 0 || a.DataSize > maxRecordBody {
			return
		}
		k.answers = append(k.answers, answer{
			shape: faketls.ServerHelloShape{DataSize: a.DataSize, CipherSuite: a.CipherSuite, Group: a.Group, VersionsFirst: a.VersionsFirst},
			tls13: a.TLS13, retry: a.Retry, records: a.Records,
		})
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.kinds[k.key] != nil:
	case !f.Browser && len(h.kinds) < maxKinds:
		h.kinds[k.key] = k
	case f.Browser && h.browser == nil:
		k.hello = nil
		h.browser, h.kinds[k.key] = k, k
	}
}

// addRecords takes the records and the patience of a host over.
func (h *host) addRecords(f Finding) {
	valid := func(lengths []int) bool {
		return len(lengths) <= maxRamp && !slices.ContainsFunc(lengths, func(n int) bool { return n <= 0 || n > maxRecordBody })
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if valid(f.Tickets) && valid(f.Ramp) && f.Max >= minMaxRecord && f.Max <= maxRecordBody {
		h.records = Records{f.Tickets, f.Ramp, f.Max}
	}
	if f.Patience >= minPatience && f.Patience <= MaxPatience {
		h.patience = f.Patience
	}
}
