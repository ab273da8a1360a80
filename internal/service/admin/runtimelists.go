package admin

import (
	"errors"
	"net/http"
	"net/netip"
	"slices"

	"github.com/mtwire/mtwire/internal/service/config"
)

// ListName is a list of networks that can be changed at run time: of those that clients may
// connect from, or of those that they may not connect from.
type ListName string

// The lists.
const (
	AllowList ListName = "allow"
	BlockList ListName = "block"
)

// RunTimeList is the networks of a list that were added at run time.
type RunTimeList struct {
	Networks []netip.Prefix
	// NotStored is why they are in force and not kept for the next run, nil if they are
	// kept.
	NotStored error
}

// maxNetworks limits how many networks a list may have at run time. A file has room for
// more.
const maxNetworks = 10_000

// networksDocument is the networks of a list at run time, sorted, each once.
type networksDocument struct {
	Networks []string `json:"networks"`
	// Addresses4 is how many IPv4 addresses are in one of them.
	Addresses4 int64 `json:"ipv4_addresses"`
	// NotStored is why they are in memory only, "" if they are kept for the next run.
	NotStored string `json:"not_stored,omitempty"`
}

func documentOfNetworks(list []netip.Prefix) networksDocument {
	d := networksDocument{Networks: make([]string, 0, len(list))}
	var last netip.Prefix // that is not in another one
	for _, network := range list {
		d.Networks = append(d.Networks, network.String())
		if last.IsValid() && last.Overlaps(network) { // the larger one comes first
			continue
		}
		if last = network; network.Addr().Is4() {
			d.Addresses4 += 1 << (32 - network.Bits())
		}
	}
	return d
}

// answerNetworks answers with a list. Its tag is that of the networks, wherever they are.
func answerNetworks(list RunTimeList) (answer, error) {
	d := documentOfNetworks(list.Networks)
	etag, err := etagOf(d)
	if list.NotStored != nil {
		d.NotStored = list.NotStored.Error()
	}
	return answer{body: d, etag: etag, unconditional: list.NotStored != nil}, err
}

func (s *Server) getNetworks(name ListName) func(*http.Request) (answer, error) {
	return func(*http.Request) (answer, error) {
		if s.config.Networks == nil {
			return answer{}, errNoNetworks
		}
		return answerNetworks(s.config.Networks(name))
	}
}

var errNoNetworks = &apiError{http.StatusNotImplemented, "no network can be allowed or blocked: the proxy does not run"}

// parseNetwork parses a network, without bits behind its length, or an address.
// IPv4-mapped addresses are IPv4.
func parseNetwork(text string) (netip.Prefix, error) {
	var network config.Network
	if err := network.UnmarshalText([]byte(text)); err != nil {
		return netip.Prefix{}, fail(http.StatusUnprocessableEntity, "networks: %v", err)
	}
	p := network.Prefix
	if addr := p.Addr(); addr.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(addr.Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

// networksOf returns the networks of a request's body.
func networksOf(r *http.Request) ([]netip.Prefix, error) {
	var d struct {
		Networks []string `json:"networks"`
	}
	if err := decode(r, &d); err != nil {
		return nil, err
	}
	if d.Networks == nil { // an empty list is one
		return nil, fail(http.StatusUnprocessableEntity, "networks: the key is missing")
	}
	list := make([]netip.Prefix, 0, len(d.Networks))
	for _, text := range d.Networks {
		network, err := parseNetwork(text)
		if err != nil {
			return nil, err
		}
		list = append(list, network)
	}
	return list, nil
}

// changeNetworks replaces the networks of a list by what edit returns. The request may have
// If-Match.
func (s *Server) changeNetworks(r *http.Request, name ListName, edit func(before []netip.Prefix) ([]netip.Prefix, error)) (answer, error) {
	if s.config.UpdateNetworks == nil {
		return answer{}, errNoNetworks
	}
	list, err := s.config.UpdateNetworks(name, func(before []netip.Prefix) ([]netip.Prefix, error) {
		a, err := answerNetworks(RunTimeList{Networks: before})
		if err == nil {
			err = checkMatch(r, a.etag)
		}
		if err != nil {
			return nil, err
		}
		after, err := edit(before)
		if err != nil {
			return nil, err
		}
		slices.SortFunc(after, netip.Prefix.Compare)
		if after = slices.Compact(after); len(after) > maxNetworks {
			return nil, fail(http.StatusUnprocessableEntity, "networks: there would be %d, and %d are possible: a file of %s has room for more", len(after), maxNetworks, name)
		}
		return after, nil
	})
	if errors.Is(err, ErrUnavailable) {
		err = fail(http.StatusServiceUnavailable, "%v", err)
	}
	if err != nil {
		return answer{}, err
	}
	return answerNetworks(list)
}

// replaceNetworks serves requests that replace a list.
func (s *Server) replaceNetworks(name ListName) func(*http.Request) (answer, error) {
	return func(r *http.Request) (answer, error) {
		list, err := networksOf(r)
		if err != nil {
			return answer{}, err
		}
		return s.changeNetworks(r, name, func([]netip.Prefix) ([]netip.Prefix, error) { return list, nil })
	}
}

// addNetworks serves requests that add networks to a list.
func (s *Server) addNetworks(name ListName) func(*http.Request) (answer, error) {
	return func(r *http.Request) (answer, error) {
		list, err := networksOf(r)
		if err != nil {
			return answer{}, err
		}
		return s.changeNetworks(r, name, func(before []netip.Prefix) ([]netip.Prefix, error) { return append(before, list...), nil })
	}
}

// removeNetwork serves requests that remove one network from a list, which must be there as
// such.
func (s *Server) removeNetwork(name ListName) func(*http.Request) (answer, error) {
	return func(r *http.Request) (answer, error) {
		query := r.URL.Query()
		if len(query) != 1 || len(query["network"]) != 1 {
			return answer{}, fail(http.StatusBadRequest, "want one parameter, network")
		}
		network, err := parseNetwork(query.Get("network"))
		if err != nil {
			return answer{}, err
		}
		return s.changeNetworks(r, name, func(before []netip.Prefix) ([]netip.Prefix, error) {
			i := slices.Index(before, network)
			if i < 0 {
				return nil, fail(http.StatusNotFound, "%v is not in the %s list at run time", network, name)
			}
			return slices.Delete(before, i, i+1), nil
		})
	}
}
