package route

import "github.com/mtwire/mtwire/datacenter"

// place is where a data centre is, and the number by which it, or the next
// proxy, is asked for it.
type place struct {
	dc        datacenter.DC
	addresses []string // the best first
}

// place finds the data centre that a client asked for. The number is passed
// on as it came, with its sign, whatever it was that made it known; only the
// default takes its own number's place.
func (r *Router) place(dc datacenter.DC) (place, error) {
	if addresses, ok := r.addresses(dc); ok {
		return place{dc, addresses}, nil
	}
	if fallback := r.config.Default; fallback != 0 {
		addresses, _ := r.addresses(fallback)
		return place{fallback, addresses}, nil
	}
	return place{}, ErrUnknownDC
}

// addresses lists where a data centre may be reached: the places that were
// configured for its number, or for all numbers; for a media number the main
// one's; what the table has.
func (r *Router) addresses(dc datacenter.DC) ([]string, bool) {
	numbers := []datacenter.DC{dc, 0}
	if dc.Media() {
		numbers = append(numbers, -dc)
	}
	for _, number := range numbers {
		if addresses, ok := r.config.DataCenters[number]; ok {
			return addresses, true
		}
	}
	known, ok := datacenter.Lookup(dc)
	if !ok {
		return nil, false
	}
	var addresses []string
	for _, address := range known.Addresses(r.config.Family) {
		addresses = append(addresses, address.String())
	}
	return addresses, true
}
