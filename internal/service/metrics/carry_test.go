package metrics

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/proxy"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// carry makes to add what from has counted, as JSON.
func carry(t *testing.T, from, to *Metrics) {
	t.Helper()
	for s := range from.Counters() {
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var again Series
		if err := json.Unmarshal(b, &again); err != nil {
			t.Fatal(err)
		}
		to.Add(again)
	}
}

// isCounter reports whether a series in the text format is a counter, or of a histogram.
func isCounter(series string) bool {
	name, _, _ := strings.Cut(series, "{")
	return strings.HasPrefix(name, "mtwire_") && (strings.HasSuffix(name, "_total") || strings.Contains(name, "_duration_seconds_"))
}

// All counters and histograms go on in the metrics that are given those of another process,
// which may be given more than once, and again from there. Gauges are not carried.
func TestCountersAreCarriedOver(t *testing.T) {
	first, second, third := start(t, Config{}, nil), start(t, Config{}, nil), start(t, Config{}, nil)
	first.everySeries()
	first.ask(t, bobSecret, "2")
	first.expect(t, map[string]string{`mtwire_user_connections{user="bob"}`: "1", `mtwire_data_center_up{dc="2"}`: "1"})
	carry(t, first.Metrics, second.Metrics)
	carry(t, first.Metrics, second.Metrics)
	want := first.scrape(t)
	maps.DeleteFunc(want, func(series, value string) bool { return value == "0" || !isCounter(series) })
	if len(want) < 40 {
		t.Fatalf("%d series", len(want))
	}
	compare := func(got map[string]string) {
		t.Helper()
		for series, value := range want {
			if got[series] != value {
				t.Errorf("%s is %q, want %q", series, got[series], value)
			}
		}
	}
	got := second.scrape(t)
	compare(got)
	if n := got[`mtwire_relaying_connections`]; n != "0" {
		t.Errorf("%s connections, of another process", n)
	}
	second.traced.countAttempt(proxy.Attempt{Upstream: "direct", Duration: 30e6})
	carry(t, second.Metrics, third.Metrics)
	for series, n := range map[string]int{"count": 1, `bucket,le="0.05"`: 1, `bucket,le="+Inf"`: 1} {
		part, le, _ := strings.Cut(series, ",")
		if le != "" {
			le = "," + le
		}
		key := `mtwire_dial_duration_seconds_` + part + `{dc="unknown",upstream="direct"` + le + `}`
		var before int
		fmt.Sscan(want[key], &before)
		want[key] = fmt.Sprint(before + n)
	}
	delete(want, `mtwire_dial_duration_seconds_sum{dc="unknown",upstream="direct"}`)
	for series := range want {
		if strings.HasPrefix(series, `mtwire_dial_duration_seconds_bucket{dc="unknown"`) && !strings.Contains(series, `"0.0`) {
			delete(want, series)
		}
	}
	compare(third.scrape(t))
	if problems, err := testutil.GatherAndLint(third.Metrics); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

// Users beyond the limit are summed, whichever process has counted them, and no series
// decreases when one of them comes back.
func TestUsersOfOtherProcessesAreLimited(t *testing.T) {
	b := start(t, Config{MaxUsers: 1}, nil)
	name := func(i int) map[string]string { return map[string]string{"user": fmt.Sprint("user", i)} }
	for range 2 {
		for i := range 10 {
			b.Add(Series{Name: "mtwire_user_connections_total", Labels: name(i), Value: 2})
		}
		b.Add(Series{Name: "mtwire_user_connections_total", Labels: map[string]string{"user": othersName}, Value: 100})
	}
	var n, sum int
	for series, value := range b.scrape(t) {
		if strings.HasPrefix(series, "mtwire_user_connections_total{") {
			var v int
			fmt.Sscan(value, &v)
			n, sum = n+1, sum+v
		}
	}
	if n > 6 || sum != 120 {
		t.Errorf("%d series with a sum of %d, want 120", n, sum)
	}
}

// What is no series of these metrics is dropped.
func TestOtherSeriesAreDropped(t *testing.T) {
	b := start(t, Config{}, nil)
	before := b.scrape(t)
	for _, s := range []Series{
		{Name: "go_goroutines", Value: 1}, {Name: "mtwire_unknown_total", Value: 1},
		{Name: "mtwire_connections_accepted_total", Value: -1}, {Name: "mtwire_relaying_connections", Value: 1},
	} {
		b.Add(s)
	}
	after := b.scrape(t)
	for series, value := range after {
		if strings.HasPrefix(series, "mtwire_") && before[series] != value {
			t.Errorf("%s was %s and is %s", series, before[series], value)
		}
	}
}
