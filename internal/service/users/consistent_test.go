package users

import (
	"context"
	"strconv"
	"sync"
	"testing"
)

// While the users are replaced, a reader sees those of before or those of after, and never
// some of each.
func TestReadersSeeOneSetOfUsers(t *testing.T) {
	const number = 500
	lists := make([][]User, 2)
	for version := range lists {
		for i := range number {
			lists[version] = append(lists[version], User{Name: strconv.Itoa(i), Note: strconv.Itoa(version)})
		}
		lists[version] = append(lists[version], User{Name: "only in " + strconv.Itoa(version), Note: strconv.Itoa(version)})
	}
	p := newPolicy(lists[0]...)
	ctx, stop := context.WithCancel(t.Context())
	var setting sync.WaitGroup
	setting.Go(func() {
		for n := 1; ctx.Err() == nil; n++ {
			p.Set(lists[n%2])
		}
	})
	for range 200 {
		list := p.List()
		if len(list) != number+1 {
			t.Fatalf("%d users", len(list))
		}
		for i, u := range list {
			if i > 0 && list[i-1].Name >= u.Name {
				t.Fatalf("user %q is behind %q", u.Name, list[i-1].Name)
			}
			if u.Note != list[0].Note || u.Name == "only in 0" && u.Note != "0" {
				t.Fatalf("user %q of version %s beside version %s", u.Name, u.Note, list[0].Note)
			}
		}
		for u, usage := range p.All() {
			if u.Name != usage.Name {
				t.Fatal(u.Name, usage.Name)
			}
		}
	}
	stop()
	setting.Wait()
}

// A Set that is under way has changed no user for a reader: what it has defined so far is
// not seen.
func TestASetIsSeenAtItsEnd(t *testing.T) {
	p := newPolicy(User{Name: "a", Note: "0"}, User{Name: "b", Note: "0"})
	a, b := p.find("a"), p.find("b")
	a.define(&User{Name: "a", Note: "1"}, false, p.now()) // as Set does
	b.remove(1)
	for _, name := range []string{"a", "b"} {
		if u, _, ok := p.Usage(name); !ok || u.Note != "0" {
			t.Errorf("%s: %v, %t", name, u, ok)
		}
	}
	if n := len(p.List()); n != 2 {
		t.Errorf("%d users", n)
	}
}

// The users are sorted for the first reader, and for no other one until they are replaced: each
// page of the API asks for them, and a hundred thousand have a hundred pages.
func TestUsersAreSortedOnce(t *testing.T) {
	p := newPolicy(User{Name: "b"}, User{Name: "c"}, User{Name: "a"})
	first, second := p.List(), p.List()
	if len(first) != 3 || &first[0] != &second[0] {
		t.Errorf("%v, and then another list", first)
	}
	p.Set([]User{{Name: "d"}, {Name: "a", Note: "new"}})
	if list := p.List(); len(list) != 2 || list[0].Note != "new" || list[1].Name != "d" {
		t.Error(list)
	}
}
