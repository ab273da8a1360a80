package admin

import (
	"net/http"

	"github.com/mtwire/mtwire/internal/service/users"
)

// Day is the bytes of a user on one day, from midnight to midnight UTC.
type Day struct {
	Day  users.Day
	Up   int64
	Down int64
}

type dayDocument struct {
	Day  string `json:"day"` // as 2026-11-28
	Up   int64  `json:"up"`
	Down int64  `json:"down"`
}

// getHistory lists the days on which a user has moved bytes. A user that was removed has
// its days, too.
func (s *Server) getHistory(r *http.Request) (answer, error) {
	if s.config.History == nil {
		return answer{}, fail(http.StatusNotImplemented, "no days are kept: there is no store")
	}
	name := r.PathValue("name")
	days, err := s.config.History(name)
	if err != nil {
		return answer{}, fail(http.StatusServiceUnavailable, "%v", err)
	}
	if _, _, there := s.config.Users.Usage(name); !there && len(days) == 0 {
		return answer{}, errNoUser
	}
	list := make([]dayDocument, 0, len(days))
	for _, d := range days {
		list = append(list, dayDocument{d.Day.String(), d.Up, d.Down})
	}
	return answer{body: map[string]any{"days": list}}, nil
}

// Link is a link in two forms: mtproxy.Link and webproxy.Link are.
type Link interface {
	String() string // tg://proxy or tg://webproxy
	HTTPS() string  // https://t.me/...
}

type linkDocument struct {
	TG    string `json:"tg"`
	HTTPS string `json:"https"`
}

// getLinks lists the links of a user: one for each secret that clients are to use,
// and a WEB link behind it if there is a web site.
func (s *Server) getLinks(r *http.Request) (answer, error) {
	u, _, err := s.user(r)
	if err != nil {
		return answer{}, err
	}
	if s.config.Links == nil {
		return answer{}, fail(http.StatusNotImplemented, "there are no links here")
	}
	links, notes, err := s.config.Links(r.Context(), u.Name)
	if err != nil {
		return answer{}, fail(http.StatusServiceUnavailable, "%v", err)
	}
	d := struct {
		Links []linkDocument `json:"links"`
		Notes []string       `json:"notes"`
	}{make([]linkDocument, 0, len(links)), append([]string{}, notes...)}
	for _, l := range links {
		d.Links = append(d.Links, linkDocument{l.String(), l.HTTPS()})
	}
	return answer{body: d}, nil
}
