package metrics

import (
	"encoding/json"
	"iter"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Counters go on in the process that takes over: it adds what the processes before it have
// counted to its own. Gauges are each process's own.

// Series is a counter or a histogram with its labels. As JSON it is part of the format of an
// upgrade: see docs/upgrade.md.
type Series struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels,omitempty"`
	// Value is a counter's. A histogram has Count, Sum and Buckets in place of it.
	Value   float64  `json:"value,omitempty"`
	Count   uint64   `json:"count,omitempty"`
	Sum     float64  `json:"sum,omitempty"`
	Buckets []Bucket `json:"buckets,omitempty"`
}

// Bucket is how many observations were at most Most.
type Bucket struct {
	Most  float64 `json:"le"`
	Count uint64  `json:"count"`
}

// maxCarried limits the series that are taken over. The labels that clients choose are
// limited in each process, and so the series are some thousands.
const maxCarried = 100_000

// helpOf has the help texts of metrics, by name: a family of which this process has no series
// yet is not gathered.
var helpOf sync.Map

// carried is what processes before this one have counted.
type carried struct {
	mu     sync.Mutex
	series map[string]map[string]*Series // by name, and by labels as text
	folded map[string]map[string]*Series // those of users beyond Config.MaxUsers, which are summed
}

// userLabel is the label of series that each user may have.
const userLabel = "user"

// Add makes a series of another process count, in place of what it had before. Unknown
// names are dropped.
func (m *Metrics) Add(s Series) {
	c := &m.carried
	if !strings.HasPrefix(s.Name, namespace+"_") || s.Value < 0 || math.IsNaN(s.Value+s.Sum) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.series == nil {
		c.series, c.folded = make(map[string]map[string]*Series), make(map[string]map[string]*Series)
	}
	labels, user := labelText(s.Labels), s.Labels[userLabel]
	most := maxCarried
	if user != "" && user != othersName {
		most = 2 * (m.users.max + 1) // there are two directions of bytes
	}
	for _, all := range [...]map[string]map[string]*Series{c.series, c.folded} {
		byLabels := all[s.Name]
		if byLabels == nil {
			byLabels = make(map[string]*Series)
			all[s.Name] = byLabels
		}
		if byLabels[labels] != nil || len(byLabels) < most {
			byLabels[labels] = &s
			return
		}
		if most == maxCarried {
			return
		}
		most = maxCarried
	}
}

// othersOf returns the series of a name by their labels, with the sums of those that are
// folded. Under mu.
func (c *carried) othersOf(name string) map[string]*Series {
	others := c.series[name]
	if len(c.folded[name]) == 0 {
		return others
	}
	others = maps.Clone(others)
	for _, s := range c.folded[name] {
		labels := maps.Clone(s.Labels)
		labels[userLabel] = othersName
		sum := Series{Name: name, Labels: labels, Value: s.Value}
		if before := others[labelText(labels)]; before != nil {
			sum.Value += before.Value
		}
		others[labelText(labels)] = &sum
	}
	return others
}

// labelText returns a text that differs for different labels.
func labelText(labels map[string]string) string {
	if len(labels) == 0 {
		return ""
	}
	text, _ := json.Marshal(labels) // in the order of the names; it does not fail
	return string(text)
}

// Counters returns all series that the next process is to add to its own, those of the
// processes before included.
func (m *Metrics) Counters() iter.Seq[Series] {
	families, _ := m.Gather() // without what has failed
	return func(yield func(Series) bool) {
		for _, family := range families {
			if !strings.HasPrefix(family.GetName(), namespace+"_") {
				continue // Go's, and the process's
			}
			for _, metric := range family.GetMetric() {
				if s, ok := seriesOf(family.GetName(), metric); ok && !yield(s) {
					return
				}
			}
		}
	}
}

// seriesOf returns a metric as a Series, if it is a counter or a histogram that is not zero.
func seriesOf(name string, metric *dto.Metric) (s Series, ok bool) {
	s = Series{Name: name, Labels: labelsOf(metric)}
	switch h := metric.GetHistogram(); {
	case metric.GetCounter() != nil:
		s.Value = metric.GetCounter().GetValue()
		return s, s.Value != 0
	case h != nil:
		s.Count, s.Sum = h.GetSampleCount(), h.GetSampleSum()
		for _, b := range h.GetBucket() {
			if !math.IsInf(b.GetUpperBound(), 1) { // which JSON does not have, and Count is
				s.Buckets = append(s.Buckets, Bucket{b.GetUpperBound(), b.GetCumulativeCount()})
			}
		}
		return s, s.Count != 0
	}
	return s, false
}

func labelsOf(metric *dto.Metric) map[string]string {
	labels := make(map[string]string, len(metric.GetLabel()))
	for _, pair := range metric.GetLabel() {
		labels[pair.GetName()] = pair.GetValue()
	}
	return labels
}

// Gather implements prometheus.Gatherer: the metrics of this process, with what others have
// counted before.
func (m *Metrics) Gather() ([]*dto.MetricFamily, error) {
	c := &m.carried
	c.mu.Lock() // during all of it, so that each scrape has more than those before
	defer c.mu.Unlock()
	families, err := m.registry.Gather()
	gathered := make(map[string]bool, len(families))
	for _, family := range families {
		gathered[family.GetName()] = true
	}
	for name, series := range c.series {
		help, known := helpOf.Load(name)
		if gathered[name] || len(series) == 0 || !known {
			continue
		}
		family := &dto.MetricFamily{Name: new(name), Help: new(help.(string)), Type: dto.MetricType_COUNTER.Enum()}
		for _, s := range series {
			if s.Count > 0 {
				family.Type = dto.MetricType_HISTOGRAM.Enum()
			}
		}
		families = append(families, family)
	}
	for _, family := range families {
		c.addTo(family)
	}
	slices.SortFunc(families, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	return families, err
}

// addTo adds what others have counted to a family. Under mu.
func (c *carried) addTo(family *dto.MetricFamily) {
	others := c.othersOf(family.GetName())
	if len(others) == 0 {
		return
	}
	isCounter := family.GetType() == dto.MetricType_COUNTER
	if !isCounter && family.GetType() != dto.MetricType_HISTOGRAM { // a gauge, of another version
		return
	}
	seen := make(map[string]bool, len(family.Metric))
	for _, metric := range family.Metric {
		labels := labelText(labelsOf(metric))
		if s := others[labels]; s != nil {
			seen[labels] = true
			s.addTo(metric)
		}
	}
	for labels, s := range others {
		if !seen[labels] {
			family.Metric = append(family.Metric, s.metric(isCounter))
		}
	}
	if len(seen) < len(others) {
		sortMetrics(family.Metric)
	}
}

// addTo adds s to a metric of the same labels. A histogram whose buckets are others counts
// in those that there are.
func (s *Series) addTo(metric *dto.Metric) {
	if counter := metric.GetCounter(); counter != nil {
		counter.Value = new(counter.GetValue() + s.Value)
		return
	}
	h := metric.GetHistogram()
	if h == nil {
		return
	}
	h.SampleCount = new(h.GetSampleCount() + s.Count)
	h.SampleSum = new(h.GetSampleSum() + s.Sum)
	for _, b := range h.GetBucket() {
		b.CumulativeCount = new(b.GetCumulativeCount() + s.atMost(b.GetUpperBound()))
	}
}

// atMost returns how many observations are known to be at most a bound.
func (s *Series) atMost(bound float64) (n uint64) {
	if math.IsInf(bound, 1) {
		return s.Count
	}
	for _, b := range s.Buckets {
		if b.Most <= bound {
			n = max(n, b.Count)
		}
	}
	return n
}

// metric returns s as a metric that this process has not counted itself.
func (s *Series) metric(isCounter bool) *dto.Metric {
	metric := new(dto.Metric)
	for name, value := range s.Labels {
		metric.Label = append(metric.Label, &dto.LabelPair{Name: new(name), Value: new(value)})
	}
	slices.SortFunc(metric.Label, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) })
	if isCounter {
		metric.Counter = &dto.Counter{Value: new(s.Value)}
		return metric
	}
	metric.Histogram = &dto.Histogram{SampleCount: new(s.Count), SampleSum: new(s.Sum)}
	for _, b := range s.Buckets {
		metric.Histogram.Bucket = append(metric.Histogram.Bucket, &dto.Bucket{UpperBound: new(b.Most), CumulativeCount: new(b.Count)})
	}
	return metric
}

// sortMetrics sorts the metrics of a family by the values of their labels, as a registry
// does.
func sortMetrics(metrics []*dto.Metric) {
	slices.SortFunc(metrics, func(a, b *dto.Metric) int {
		return slices.CompareFunc(a.GetLabel(), b.GetLabel(), func(a, b *dto.LabelPair) int {
			return strings.Compare(a.GetValue(), b.GetValue())
		})
	})
}

var _ prometheus.Gatherer = (*Metrics)(nil)
