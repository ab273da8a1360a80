package admin

import (
	"cmp"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/mtwire/mtwire/internal/service/users"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/proxy"
)

// Users are the users of a proxy with their limits and usage, as a *users.Policy has
// them.
type Users interface {
	List() []*users.User // by name, as they were at one time; it must not be changed
	Usage(name string) (*users.User, users.Usage, bool)
	ResetUsage(name string) bool
}

// UpdateUsers replaces the users that were added at run time by what change returns for
// them, and puts them in force. After an error nothing has changed. It is change's, a
// *users.TakenError, or wraps ErrUnavailable or ErrUnusable.
type UpdateUsers func(change func(list []users.User) ([]users.User, error)) error

// ErrUnavailable means that users, or networks, cannot be changed for now.
var ErrUnavailable = errors.New("nothing has changed")

// ErrUnusable means that the proxy cannot use the users that there would be: its modes do not
// allow a secret, for example.
var ErrUnusable = errors.New("nothing has changed")

// proxyUsers are the users of a proxy without limits.
type proxyUsers struct{ proxy *proxy.Proxy }

func (p proxyUsers) List() (list []*users.User) {
	for u := range p.All() {
		list = append(list, u)
	}
	slices.SortFunc(list, func(a, b *users.User) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

func (p proxyUsers) All() iter.Seq2[*users.User, users.Usage] {
	_, all, _ := p.proxy.StatsByUser()
	stats := make(map[string]proxy.UserStats, len(all))
	for _, u := range all {
		stats[u.Name] = u
	}
	return func(yield func(*users.User, users.Usage) bool) {
		for _, u := range p.proxy.Users() {
			s := stats[u.Name]
			usage := users.Usage{Counter: users.Counter{Name: u.Name, Up: s.Up, Down: s.Down}, Connections: int(s.Open)}
			if !yield(&users.User{Name: u.Name, Secrets: u.Secrets}, usage) {
				return
			}
		}
	}
}

func (p proxyUsers) Usage(name string) (*users.User, users.Usage, bool) {
	for u, usage := range p.All() {
		if u.Name == name {
			return u, usage, true
		}
	}
	return nil, users.Usage{}, false
}

func (proxyUsers) ResetUsage(string) bool { return false }

type usageDocument struct {
	Connections int              `json:"connections"`
	Addresses   int              `json:"addresses"`
	Up          int64            `json:"up"`
	Down        int64            `json:"down"`
	QuotaUsed   int64            `json:"quota_used"`
	QuotaResets *time.Time       `json:"quota_resets,omitempty"`
	Seen        *time.Time       `json:"seen,omitempty"`
	Refused     map[string]int64 `json:"refused"`
}

func documentOfUsage(u *users.Usage) usageDocument {
	d := usageDocument{
		Connections: u.Connections, Addresses: u.Addresses, Up: u.Up, Down: u.Down, QuotaUsed: u.Used(),
		QuotaResets: instant(u.Resets), Refused: make(map[string]int64),
	}
	if u.Seen != 0 {
		d.Seen = instant(time.Unix(u.Seen, 0))
	}
	for cause, n := range u.Refused {
		d.Refused[users.Cause(cause).String()] = n
	}
	return d
}

// getUsers lists users by their name, in pages.
func (s *Server) getUsers(r *http.Request) (answer, error) {
	limit, after := defaultSessions, ""
	for key, values := range r.URL.Query() {
		switch value := values[len(values)-1]; key {
		case "after":
			after = value
		case "limit":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 || n > maxSessions {
				return answer{}, fail(http.StatusBadRequest, "limit must be 1 to %d", maxSessions)
			}
			limit = n
		default:
			return answer{}, fail(http.StatusBadRequest, "there is no parameter %q", key)
		}
	}
	page := struct {
		Users []UserItem `json:"users"`
		Next  string     `json:"next,omitempty"` // for after
	}{Users: make([]UserItem, 0)}
	list := s.config.Users.List()
	first, found := slices.BinarySearchFunc(list, after, func(u *users.User, name string) int { return cmp.Compare(u.Name, name) })
	if found {
		first++
	}
	if list = list[first:]; len(list) > limit {
		list = list[:limit]
		page.Next = list[limit-1].Name
	}
	for _, u := range list {
		_, usage, _ := s.config.Users.Usage(u.Name) // nothing of one that was removed meanwhile
		page.Users = append(page.Users, UserItem{documentOfUser(u), documentOfUsage(&usage)})
	}
	return answer{body: page}, nil
}

// user returns the user of a path.
func (s *Server) user(r *http.Request) (*users.User, users.Usage, error) {
	u, usage, ok := s.config.Users.Usage(r.PathValue("name"))
	if !ok {
		return nil, usage, errNoUser
	}
	return u, usage, nil
}

var errNoUser = &apiError{http.StatusNotFound, "there is no such user"}

// answerUser answers with a user and its entity tag.
func answerUser(u *users.User) (answer, error) {
	etag, err := etagOfUser(u)
	return answer{body: documentOfUser(u), etag: etag}, err
}

func (s *Server) getUser(r *http.Request) (answer, error) {
	u, _, err := s.user(r)
	if err != nil {
		return answer{}, err
	}
	return answerUser(u)
}

func (s *Server) getUsage(r *http.Request) (answer, error) {
	_, usage, err := s.user(r)
	return answer{body: documentOfUsage(&usage)}, err
}

func (s *Server) resetUsage(r *http.Request) (answer, error) {
	u, _, err := s.user(r)
	if err != nil {
		return answer{}, err
	}
	if !s.config.Users.ResetUsage(u.Name) {
		return answer{}, fail(http.StatusNotImplemented, "there are no limits, and so no usage that is kept")
	}
	return s.getUsage(r)
}

func (s *Server) getSecrets(r *http.Request) (answer, error) {
	u, _, err := s.user(r)
	if err != nil {
		return answer{}, err
	}
	type retired struct {
		Secret string     `json:"secret"`
		Until  *time.Time `json:"until"`
	}
	d := struct {
		Secrets []string  `json:"secrets"`
		Retired []retired `json:"retired"` // those that serve until a time
	}{secretTexts(u), make([]retired, 0)}
	for _, old := range u.Retired {
		if text, err := old.MarshalText(); err == nil && old.Until.After(time.Now()) {
			d.Retired = append(d.Retired, retired{string(text), instant(old.Until)})
		}
	}
	return answer{body: d}, nil
}

// change changes a user that was added at run time, with what edit returns for it, nil
// to remove it; before is nil if it is to be made. The request may have If-Match.
func (s *Server) change(r *http.Request, name string, edit func(before *users.User) (*users.User, error)) (after *users.User, err error) {
	if s.config.UpdateUsers == nil {
		return nil, fail(http.StatusNotImplemented, "users cannot be changed: there is no store")
	}
	err = s.config.UpdateUsers(func(list []users.User) ([]users.User, error) {
		i := slices.IndexFunc(list, func(u users.User) bool { return u.Name == name })
		var before *users.User
		if i >= 0 {
			before = &list[i]
			etag, err := etagOfUser(before)
			if err == nil {
				err = checkMatch(r, etag)
			}
			if err != nil {
				return nil, err
			}
		} else if _, _, fromFile := s.config.Users.Usage(name); fromFile {
			if where := s.where(name); where != "" {
				return nil, fail(http.StatusConflict, "%s", where)
			}
			return nil, fail(http.StatusConflict, "the user is in the configuration: change it there")
		}
		var err error
		if after, err = edit(before); err != nil {
			return nil, err
		}
		switch {
		case before == nil:
			return append(list, *after), nil
		case after == nil:
			return slices.Delete(list, i, i+1), nil
		}
		list[i] = *after
		return list, nil
	})
	var taken *users.TakenError
	switch {
	case errors.Is(err, ErrUnusable):
		err = fail(http.StatusUnprocessableEntity, "%v", err)
	case errors.As(err, &taken):
		err = fail(http.StatusConflict, "%v", taken)
	case errors.Is(err, ErrUnavailable):
		err = fail(http.StatusServiceUnavailable, "%v", err)
	}
	return after, err
}

// where returns Config.Where's result.
func (s *Server) where(name string) string {
	if s.config.Where == nil {
		return ""
	}
	return s.config.Where(name)
}

// existing returns an edit that fails if there is no user to change.
func existing(edit func(before *users.User) (*users.User, error)) func(*users.User) (*users.User, error) {
	return func(before *users.User) (*users.User, error) {
		if before == nil {
			return nil, errNoUser
		}
		return edit(before)
	}
}

// createUser adds a user, with the secrets of the request or a new one.
func (s *Server) createUser(r *http.Request) (answer, error) {
	d := newUserDocument()
	if err := decode(r, &d); err != nil {
		return answer{}, err
	}
	u, err := d.user()
	if err != nil {
		return answer{}, err
	}
	if len(u.Secrets) == 0 {
		secret, err := s.config.NewSecret()
		if err != nil {
			return answer{}, err
		}
		u.Secrets = []mtproxy.Secret{secret}
	}
	after, err := s.change(r, u.Name, func(before *users.User) (*users.User, error) {
		if before != nil {
			return nil, fail(http.StatusConflict, "there is a user of this name")
		}
		return &u, nil
	})
	if err != nil {
		return answer{}, err
	}
	a, err := answerWithSecrets(after)
	a.status, a.location = http.StatusCreated, "/v1/users/"+url.PathEscape(u.Name)
	return a, err
}

// answerWithSecrets is answerUser with the user's secrets, for requests that make one.
func answerWithSecrets(u *users.User) (answer, error) {
	a, err := answerUser(u)
	d := documentOfUser(u)
	d.Secrets = secretTexts(u)
	a.body = d
	return a, err
}

// replaceUser replaces all of a user but its name and, if the request has none, its
// secrets.
func (s *Server) replaceUser(r *http.Request) (answer, error) {
	d := newUserDocument()
	if err := decode(r, &d); err != nil {
		return answer{}, err
	}
	return s.edit(r, func(*users.User) (userDocument, error) { return d, nil })
}

// patchUser changes what the request has.
func (s *Server) patchUser(r *http.Request) (answer, error) {
	var patch map[string]json.RawMessage
	if err := decode(r, &patch); err != nil {
		return answer{}, err
	}
	return s.edit(r, func(before *users.User) (userDocument, error) { return documentOfUser(before).patch(patch) })
}

// edit changes the user of a path to what next describes.
func (s *Server) edit(r *http.Request, next func(before *users.User) (userDocument, error)) (answer, error) {
	name := r.PathValue("name")
	after, err := s.change(r, name, existing(func(before *users.User) (*users.User, error) {
		d, err := next(before)
		if err != nil {
			return nil, err
		}
		if d.Name = cmp.Or(d.Name, name); d.Name != name {
			return nil, fail(http.StatusUnprocessableEntity, "name: a user keeps its name")
		}
		u, err := d.user()
		if len(u.Secrets) == 0 {
			u.Secrets, u.Retired = before.Secrets, before.Retired
		}
		return &u, err
	}))
	if err != nil {
		return answer{}, err
	}
	return answerUser(after)
}

func (s *Server) deleteUser(r *http.Request) (answer, error) {
	_, err := s.change(r, r.PathValue("name"), existing(func(*users.User) (*users.User, error) { return nil, nil }))
	return answer{}, err
}

// MaxGrace limits how long a secret that was replaced serves.
const MaxGrace = 366 * 24 * time.Hour

// rotateSecret gives a user a new secret. Those before serve for the seconds of the
// request.
func (s *Server) rotateSecret(r *http.Request) (answer, error) {
	var request struct {
		Grace float64 `json:"grace_seconds"`
	}
	if r.ContentLength != 0 {
		if err := decode(r, &request); err != nil {
			return answer{}, err
		}
	}
	if !(request.Grace >= 0 && request.Grace <= MaxGrace.Seconds()) {
		return answer{}, fail(http.StatusUnprocessableEntity, "grace_seconds: want 0 to %.0f", MaxGrace.Seconds())
	}
	grace := time.Duration(request.Grace * float64(time.Second))
	secret, err := s.config.NewSecret()
	if err != nil {
		return answer{}, err
	}
	after, err := s.change(r, r.PathValue("name"), existing(func(before *users.User) (*users.User, error) {
		u := *before
		if len(u.Secrets) > 0 { // in the mode, and for the domain, of the one before
			secret.Mode, secret.Domain = u.Secrets[0].Mode, u.Secrets[0].Domain
		}
		now := time.Now()
		u.Rotate(secret, now, now.Add(grace))
		return &u, nil
	}))
	if err != nil {
		return answer{}, err
	}
	return answerWithSecrets(after)
}
