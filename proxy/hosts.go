package proxy

import (
	"cmp"
	"net"
)

// FrontingHosts returns the fronting hosts of the users as they are now, by domain in
// lower case. Each has its address, as host:port or unix:/PATH. The map is the
// caller's.
func (p *Proxy) FrontingHosts() map[string]Front {
	snapshot := p.users.Load()
	users := make([]User, 0, len(snapshot.users))
	for _, user := range snapshot.users {
		users = append(users, *user)
	}
	hosts, _ := fronts(&snapshot.settings.Config, users) // SetUsers has checked them
	byDomain := make(map[string]Front, len(hosts))
	for _, host := range hosts {
		byDomain[host.Domain] = Front{
			Address:       cmp.Or(host.Address, net.JoinHostPort(host.Domain, "443")),
			ProxyProtocol: ProxyProtocol(host.ProxyProtocol),
		}
	}
	return byDomain
}
