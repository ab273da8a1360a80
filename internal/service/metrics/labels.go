package metrics

import (
	"maps"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/prometheus/client_golang/prometheus"
)

const namespace = "mtwire"

const (
	// other stands for all label values beyond a limit.
	other = "other"
	// unknown is the mode and the data centre of connections that are not
	// authenticated.
	unknown = "unknown"

	// maxLabels limits the values of a label that clients or data centres choose.
	maxLabels = 64
)

// table is a map that grows and is read without a lock.
type table[K comparable, V any] struct {
	values atomic.Pointer[map[K]V]
	mu     sync.Mutex // of writers
}

// get returns the value of key, which create makes the first time. It returns false if
// there are limit values already; 0 means no limit.
func (t *table[K, V]) get(key K, limit int, create func(K) V) (v V, ok bool) {
	if all := t.values.Load(); all != nil {
		if v, ok = (*all)[key]; ok || limit > 0 && len(*all) >= limit {
			return v, ok
		}
	}
	return t.add(key, limit, create)
}

func (t *table[K, V]) add(key K, limit int, create func(K) V) (v V, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make(map[K]V)
	if now := t.values.Load(); now != nil {
		maps.Copy(all, *now)
	}
	if v, ok = all[key]; ok || limit > 0 && len(all) >= limit { // another goroutine was faster
		return v, ok
	}
	all[key] = create(key)
	t.values.Store(&all)
	return all[key], true
}

// bound is a family of metrics whose members are found by a key, without the cost of
// finding them by their label values.
type bound[K comparable, M any] struct {
	table  table[K, M]
	member func(K) M
}

// of returns the member of a key.
func (b *bound[K, M]) of(key K) M {
	m, _ := b.table.get(key, 0, b.member)
	return m
}

// names are label values, limited in number: those that come first are kept.
type names[K comparable] struct{ table[K, string] }

// limit returns text for the first maxLabels keys, and other for those beyond.
func (n *names[K]) limit(key K, text func(K) string) string {
	if name, ok := n.get(key, maxLabels, text); ok {
		return name
	}
	return other
}

// dataCenters are the label values of data centres. The main ones have theirs whatever
// clients ask for.
type dataCenters struct{ names[datacenter.DC] }

func newDataCenters() *dataCenters {
	d := new(dataCenters)
	d.of(0)
	for dc := datacenter.DC(1); dc <= 5; dc++ {
		d.of(dc)
		d.of(-dc)
	}
	return d
}

func (d *dataCenters) of(dc datacenter.DC) string {
	return d.limit(dc, func(dc datacenter.DC) string {
		if dc == 0 {
			return unknown
		}
		return strconv.Itoa(int(dc))
	})
}

// identity is the text of a name that is one already.
func identity(name string) string { return name }

func newCounters(name, help string, labels ...string) *prometheus.CounterVec {
	helpOf.Store(namespace+"_"+name, help)
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

func newGauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help})
}
