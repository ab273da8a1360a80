package api

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/internal/service/admin"
)

// updateBlocked is admin.Config.UpdateBlocked, in memory.
func (b *testbed) updateBlocked(change func([]netip.Prefix) ([]netip.Prefix, error)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.unavailable {
		return fmt.Errorf("%w: the disk is full", admin.ErrUnavailable)
	}
	list, err := change(slices.Clone(b.blocked))
	if err == nil {
		b.blocked = list
	}
	return err
}

// tryBlocked tries all that can be done with the networks that are blocked at run time,
// and what clients must not get: a network that is none, too many, a stale tag.
func (d *document) tryBlocked(t *testing.T, b *testbed) {
	t.Helper()
	_, empty := d.try(t, b, step{operation: "getBlocked", status: 200})
	d.try(t, b, step{operation: "getBlocked", header: map[string]string{"If-None-Match": empty}, status: 304})
	for _, operation := range []string{"replaceBlocked", "addBlocked"} {
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
	body, _ := d.try(t, b, step{operation: "getBlocked", status: 200})
	if body != `{"networks":["10.0.0.0/8","10.1.0.0/16","2001:db8::/32"],"ipv4_addresses":16777216}`+"\n" {
		t.Error(body)
	}
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
		d.try(t, b, step{operation: "addBlocked", body: `{"networks":[` + strings.TrimSuffix(text, `"`) + `.0"]}`, status: status})
	}
	d.try(t, b, step{operation: "replaceBlocked", body: `{"networks": ["0.0.0.0/0", "::ffff:192.0.2.1"]}`, status: 200})
	d.try(t, b, step{operation: "removeBlocked", query: "?network=0.0.0.0/0", header: map[string]string{"If-Match": empty}, status: 412})
	body, _ = d.try(t, b, step{operation: "removeBlocked", query: "?network=192.0.2.1", status: 200})
	if body != `{"networks":["0.0.0.0/0"],"ipv4_addresses":4294967296}`+"\n" {
		t.Error(body)
	}
	d.try(t, b, step{operation: "removeBlocked", query: "?network=192.0.2.1", status: 404})
	d.try(t, b, step{operation: "removeBlocked", query: "?network=x", status: 422})
	d.try(t, b, step{operation: "removeBlocked", status: 400})
}
