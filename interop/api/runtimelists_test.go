package api

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/internal/service/admin"
)

// networks is admin.Config.Networks, in memory.
func (b *testbed) networks(name admin.ListName) admin.RunTimeList {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := admin.RunTimeList{Networks: b.lists[name]}
	if b.unstored {
		list.NotStored = errors.New("the disk is full")
	}
	return list
}

// updateNetworks is admin.Config.UpdateNetworks, in memory.
func (b *testbed) updateNetworks(name admin.ListName, change func([]netip.Prefix) ([]netip.Prefix, error)) (admin.RunTimeList, error) {
	b.mu.Lock()
	if b.unavailable {
		b.mu.Unlock()
		return admin.RunTimeList{}, fmt.Errorf("%w: another process has the store", admin.ErrUnavailable)
	}
	list, err := change(slices.Clone(b.lists[name]))
	if err == nil {
		b.lists[name] = list
	}
	b.mu.Unlock()
	return b.networks(name), err
}

// tryNetworks tries all that can be done with the networks of a list at run time, and what
// clients must not get: a network that is none, too many, a stale tag. The operations end in
// suffix.
func (d *document) tryNetworks(t *testing.T, b *testbed, suffix string) {
	t.Helper()
	_, empty := d.try(t, b, step{operation: "get" + suffix, status: 200})
	d.try(t, b, step{operation: "get" + suffix, header: map[string]string{"If-None-Match": empty}, status: 304})
	for _, operation := range []string{"replace" + suffix, "add" + suffix} {
		d.try(t, b, step{operation: operation, body: `{"networks": ["2001:db8::/32", "10.1.0.0/16", "10.0.0.0/8"]}`, status: 200})
		for _, bad := range []string{`"10.0.0.0/33"`, `"localhost"`, `""`, `"fe80::1%eth0"`, `"10.1.2.3/8"`} {
			d.try(t, b, step{operation: operation, body: `{"networks": [` + bad + `]}`, status: 422})
		}
		d.try(t, b, step{operation: operation, body: `{}`, status: 422})
		d.try(t, b, step{operation: operation, body: `{"networks": []}`, header: map[string]string{"If-Match": empty}, status: 412})
		d.badBodies(t, b, operation, "")
		b.unavailable = true
		d.try(t, b, step{operation: operation, body: `{"networks": []}`, status: 503})
		b.unavailable = false
	}
	body, _ := d.try(t, b, step{operation: "get" + suffix, status: 200})
	if body != `{"networks":["10.0.0.0/8","10.1.0.0/16","2001:db8::/32"],"ipv4_addresses":16777216}`+"\n" {
		t.Error(body)
	}
	b.unstored = true
	body, _ = d.try(t, b, step{operation: "get" + suffix, status: 200})
	if !strings.Contains(body, `"not_stored":"the disk is full"`) {
		t.Error(body)
	}
	d.try(t, b, step{operation: "add" + suffix, body: `{"networks": ["10.0.0.0/8"]}`, status: 200})
	b.unstored = false
	for i := range 3 { // 4,000 in each body
		var list []string
		for n := range 4000 {
			list = append(list, fmt.Sprintf(`"%d.%d.%d"`, 20+i, n>>8, n&255))
		}
		text := strings.ReplaceAll(strings.Join(list, ","), `","`, `.0","`)
		status := 200
		if i == 2 {
			status = 422
		}
		d.try(t, b, step{operation: "add" + suffix, body: `{"networks":[` + strings.TrimSuffix(text, `"`) + `.0"]}`, status: status})
	}
	d.try(t, b, step{operation: "replace" + suffix, body: `{"networks": ["0.0.0.0/0", "::ffff:192.0.2.1"]}`, status: 200})
	d.try(t, b, step{operation: "remove" + suffix, query: "?network=0.0.0.0/0", header: map[string]string{"If-Match": empty}, status: 412})
	body, _ = d.try(t, b, step{operation: "remove" + suffix, query: "?network=192.0.2.1", status: 200})
	if body != `{"networks":["0.0.0.0/0"],"ipv4_addresses":4294967296}`+"\n" {
		t.Error(body)
	}
	d.try(t, b, step{operation: "remove" + suffix, query: "?network=192.0.2.1", status: 404})
	d.try(t, b, step{operation: "remove" + suffix, query: "?network=x", status: 422})
	d.try(t, b, step{operation: "remove" + suffix, status: 400})
}
