package route

import "github.com/mtwire/mtwire/datacenter"

// location is the addresses of a data centre, and the number for the init
// payload.
type location struct {
	dc        datacenter.DC
	addresses []string // the first to try first
}

// resolve returns the location of the data centre that a client asked for. The
// number is forwarded unchanged, with its sign, even if the addresses are those of
// another one. Only Config.Default replaces it.
func (r *Router) resolve(dc datacenter.DC) (location, error) {
	if addresses, ok := r.addresses(dc); ok {
		return location{dc, addresses}, nil
	}
	if fallback := r.config.Default; fallback != 0 {
		addresses, _ := r.addresses(fallback)
		return location{fallback, addresses}, nil
	}
	return location{}, ErrUnknownDC
}

// addresses returns the configured addresses of dc; or else those configured for
// all numbers; or else, for a media number, those configured for the main one; or
// else the table's.
func (r *Router) addresses(dc datacenter.DC) ([]string, bool) {
	for _, number := range [...]datacenter.DC{dc, 0} {
		if addresses, ok := r.config.DataCenters[number]; ok {
			return addresses, true
		}
	}
	if addresses, ok := r.config.DataCenters[-dc]; ok && dc.Media() {
		return addresses, true
	}
	known, ok := datacenter.Lookup(dc)
	if !ok {
		return nil, false
	}
	ordered := known.Addresses(r.config.Family)
	addresses := make([]string, len(ordered))
	for i, address := range ordered {
		addresses[i] = address.String()
	}
	return addresses, true
}
