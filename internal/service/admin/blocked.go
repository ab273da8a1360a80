package admin

import (
	"errors"
	"net/http"
	"net/netip"
	"slices"

	"github.com/mtwire/mtwire/internal/service/config"
)

// maxBlocked limits how many networks may be blocked at run time. A file has room for more.
const maxBlocked = 10_000

// blockedDocument is the networks that are blocked at run time, sorted, each once.
type blockedDocument struct {
	Networks []string `json:"networks"`
	// Addresses4 is how many IPv4 addresses are in one of them.
	Addresses4 int64 `json:"ipv4_addresses"`
}

func documentOfBlocked(list []netip.Prefix) blockedDocument {
	d := blockedDocument{Networks: make([]string, 0, len(list))}
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

func answerBlocked(list []netip.Prefix) (answer, error) {
	d := documentOfBlocked(list)
	etag, err := etagOf(d)
	return answer{body: d, etag: etag}, err
}

func (s *Server) getBlocked(*http.Request) (answer, error) {
	if s.config.Blocked == nil {
		return answer{}, errNoBlocked
	}
	return answerBlocked(s.config.Blocked())
}

var errNoBlocked = &apiError{http.StatusNotImplemented, "no network can be blocked: the proxy does not run"}

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

// changeBlocked replaces the networks by what edit returns. The request may have If-Match.
func (s *Server) changeBlocked(r *http.Request, edit func(before []netip.Prefix) ([]netip.Prefix, error)) (answer, error) {
	if s.config.UpdateBlocked == nil {
		return answer{}, errNoBlocked
	}
	var after []netip.Prefix
	err := s.config.UpdateBlocked(func(before []netip.Prefix) ([]netip.Prefix, error) {
		a, err := answerBlocked(before)
		if err == nil {
			err = checkMatch(r, a.etag)
		}
		if err == nil {
			after, err = edit(before)
		}
		if err != nil {
			return nil, err
		}
		slices.SortFunc(after, netip.Prefix.Compare)
		after = slices.Compact(after)
		if len(after) > maxBlocked {
			return nil, fail(http.StatusUnprocessableEntity, "networks: there would be %d, and %d are possible: a file of block has room for more", len(after), maxBlocked)
		}
		return after, nil
	})
	if errors.Is(err, ErrUnavailable) {
		err = fail(http.StatusServiceUnavailable, "%v", err)
	}
	if err != nil {
		return answer{}, err
	}
	return answerBlocked(after)
}

func (s *Server) replaceBlocked(r *http.Request) (answer, error) {
	list, err := networksOf(r)
	if err != nil {
		return answer{}, err
	}
	return s.changeBlocked(r, func([]netip.Prefix) ([]netip.Prefix, error) { return list, nil })
}

func (s *Server) addBlocked(r *http.Request) (answer, error) {
	list, err := networksOf(r)
	if err != nil {
		return answer{}, err
	}
	return s.changeBlocked(r, func(before []netip.Prefix) ([]netip.Prefix, error) { return append(before, list...), nil })
}

// removeBlocked removes one network, which must be there as such.
func (s *Server) removeBlocked(r *http.Request) (answer, error) {
	query := r.URL.Query()
	if len(query) != 1 || len(query["network"]) != 1 {
		return answer{}, fail(http.StatusBadRequest, "want one parameter, network")
	}
	network, err := parseNetwork(query.Get("network"))
	if err != nil {
		return answer{}, err
	}
	return s.changeBlocked(r, func(before []netip.Prefix) ([]netip.Prefix, error) {
		i := slices.Index(before, network)
		if i < 0 {
			return nil, fail(http.StatusNotFound, "%v is not blocked at run time", network)
		}
		return slices.Delete(before, i, i+1), nil
	})
}
