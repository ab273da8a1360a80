package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/internal/service/users"
)

// A page of users begins behind any name, also of a user that is not there any more, and has
// the next ones by name. All pages together have each user once.
func TestPagesOfUsersAreByName(t *testing.T) {
	policy := users.New(users.Config{})
	var list []users.User
	for _, name := range []string{"carol", "bob", "alice", "erin", "Zoe"} {
		list = append(list, users.User{Name: name})
	}
	policy.Set(list)
	c := LocalClient(New(Config{Users: policy}))
	for _, test := range []struct {
		limit int
		after string
		want  []string
		next  string
	}{
		{2, "", []string{"Zoe", "alice"}, "alice"},
		{2, "alice", []string{"bob", "carol"}, "carol"},
		{2, "carol", []string{"erin"}, ""},
		{1, "dan", []string{"erin"}, ""},
		{9, "bo", []string{"bob", "carol", "erin"}, ""},
		{9, "erin", []string{}, ""},
		{9, "zzz", []string{}, ""},
	} {
		answer, err := c.Do(t.Context(), http.MethodGet, fmt.Sprintf("/v1/users?limit=%d&after=%s", test.limit, test.after), nil, "")
		if err != nil {
			t.Fatal(err)
		}
		var page struct {
			Users []struct{ Name string }
			Next  string
		}
		if err := json.Unmarshal(answer.Document, &page); err != nil {
			t.Fatal(err)
		}
		names := make([]string, 0, len(page.Users))
		for _, u := range page.Users {
			names = append(names, u.Name)
		}
		if !slices.Equal(names, test.want) || page.Next != test.next {
			t.Errorf("%d after %q: %q, next %q", test.limit, test.after, names, page.Next)
		}
	}
	manyMore := slices.Clone(list)
	for i := range 2*maxSessions + 1 {
		manyMore = append(manyMore, users.User{Name: fmt.Sprint(i)})
	}
	policy.Set(manyMore)
	all, err := c.Users(t.Context())
	if err != nil || len(all) != len(manyMore) || !slices.IsSortedFunc(all, func(a, b UserItem) int { return strings.Compare(a.Name, b.Name) }) {
		t.Errorf("%d users, %v", len(all), err)
	}
}
