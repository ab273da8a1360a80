package service

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/mtwire/mtwire/proxy"
)

// probe tries all data centres over all upstreams, and logs the results in one line.
// It logs nothing if ctx ends before.
func (s *Service) probe(ctx context.Context) {
	probes := s.proxy.ProbeDataCenters(ctx)
	if ctx.Err() != nil {
		return
	}
	s.admin.probed(probes)
	logProbes(s.log, probes)
	logDeadUpstreams(s.log, probes)
	if padded, all := s.proxy.ProbeClassic(ctx, probes); ctx.Err() == nil {
		logPaddedUpstreams(s.log, padded, all)
	}
}

// logDeadUpstreams warns of each upstream over which no data centre has answered.
func logDeadUpstreams(log *slog.Logger, probes []proxy.Probe) {
	var upstreams []string // in the order of the configuration
	alive, connected, first := make(map[string]bool), make(map[string]bool), make(map[string]proxy.Probe)
	for _, p := range probes {
		if _, known := first[p.Upstream]; !known {
			upstreams, first[p.Upstream] = append(upstreams, p.Upstream), p
		}
		alive[p.Upstream] = alive[p.Upstream] || p.Err == nil
		connected[p.Upstream] = connected[p.Upstream] || p.Connected
	}
	for _, u := range upstreams {
		switch {
		case alive[u] || u == "direct":
		case connected[u] && (strings.HasPrefix(u, "mtproxy ") || strings.HasPrefix(u, "webproxy ")):
			log.Warn("the upstream takes connections and answers none: check the secret in its link", "upstream", u, "cause", cause(first[u]))
		default:
			log.Warn("no data centre answers over the upstream", "upstream", u, "cause", cause(first[u]))
		}
	}
}

// logPaddedUpstreams warns of upstreams that classic clients cannot use.
func logPaddedUpstreams(log *slog.Logger, padded []string, all bool) {
	if len(padded) == 0 {
		return
	}
	message := "classic clients are not sent over these upstreams, which take dd and ee clients only"
	if all {
		message = "classic clients are refused, because the upstreams take dd and ee clients only: give out dd or ee secrets, set --modes dd,ee, or use an upstream's secret without prefix"
	}
	log.Warn(message, "upstreams", strings.Join(padded, ", "))
}

// Probed returns a channel that Run closes when the data centres were tried, and the
// result is in the log.
func (s *Service) Probed() <-chan struct{} { return s.probed }

// logProbes logs the results by data centre: the time to the answer, or the error,
// for each upstream. It is a warning if a data centre has answered over none.
func logProbes(log *slog.Logger, probes []proxy.Probe) {
	var attrs []slog.Attr
	answering, silent := 0, 0
	for i := 0; i < len(probes); {
		dc := probes[i].DC
		var texts []string
		answers := false
		for ; i < len(probes) && probes[i].DC == dc; i++ {
			p := probes[i]
			text := p.Upstream + " " + p.Duration.Round(time.Millisecond).String()
			if p.Err != nil {
				text = withoutRepetition(p)
			}
			texts = append(texts, text)
			answers = answers || p.Err == nil
		}
		if answers {
			answering++
		} else {
			silent++
		}
		attrs = append(attrs, slog.String(fmt.Sprint("dc", int(dc)), strings.Join(texts, ", ")))
	}
	level, message := slog.LevelInfo, "data centres answer"
	switch {
	case answering == 0:
		level, message = slog.LevelWarn, "no data centre answers: clients cannot be served; check the network and --upstream"
	case silent > 0:
		level, message = slog.LevelWarn, "some data centres do not answer"
	}
	log.LogAttrs(context.Background(), level, message, attrs...)
}

// withoutRepetition returns a probe's error, which has the upstream with each address.
func withoutRepetition(p proxy.Probe) string {
	return p.Upstream + " failed: " + cause(p)
}

// cause returns the text of a probe's error, without the upstream.
func cause(p proxy.Probe) string {
	return strings.ReplaceAll(p.Err.Error(), " ("+p.Upstream+")", "")
}
