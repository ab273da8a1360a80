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
	if ctx.Err() == nil {
		logProbes(s.log, probes)
	}
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
	text := p.Err.Error()
	via := " (" + p.Upstream + ")"
	return p.Upstream + " failed: " + strings.ReplaceAll(text, via, "")
}
