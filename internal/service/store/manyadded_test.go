package store

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/mtwire/mtwire/internal/service/users"
)

// Whatever is changed among the users, the file is that of the users that there are then: those
// that have not changed are not tried again, and are in it as before.
func TestAChangeIsWrittenAsAWholeFileWouldBe(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	before, _ := manyUsers(20)
	for round := range 50 {
		after := slices.Clone(before)
		switch i := random.IntN(len(after)); round % 4 {
		case 0:
			after = slices.Delete(after, i, i+1)
		case 1:
			after[i].Note = "of another round"
		case 2:
			after = append(after, userList()[0])
			after[len(after)-1].Name = string(rune('a' + round%26))
		case 3:
			after[i], after[0] = after[0], after[i]
		}
		got, err := encodeUsers(after, before)
		if err != nil {
			t.Fatal(err)
		}
		want, err := encodeUsers(after, nil)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("round %d: %s, want %s, %v", round, got, want, err)
		}
		back, err := decodeUsers(got)
		if round%4 != 2 && (err != nil || !slices.EqualFunc(back, after, func(a, b users.User) bool { return a.Equal(&b) })) {
			t.Fatalf("round %d: %+v, %v", round, back, err)
		}
		if round%4 != 2 { // in which several have one secret
			before = after
		}
	}
}

// A change of one user among many does not read the others back, which would take several
// times what is in the file.
func TestAChangeReadsNoOtherUserBack(t *testing.T) {
	list, _ := manyUsers(2000)
	next := slices.Clone(list)
	next[7].Note = "another one"
	encode := func(before []users.User) float64 {
		return testing.AllocsPerRun(3, func() {
			if _, err := encodeUsers(next, before); err != nil {
				t.Error(err)
			}
		})
	}
	if one, all := encode(list), encode(nil); one > all/2 {
		t.Errorf("%.0f allocations, and %.0f if all users have changed", one, all)
	}
}

// The users file is what JSON makes of all users at once, though they are encoded one by one.
func TestTheUsersFileIsIndented(t *testing.T) {
	list, _ := manyUsers(20)
	list[3].Note = "<a> & \u2028"
	for _, list := range [][]users.User{list, list[:1], {}} {
		definitions := make([]*definition, 0)
		for i := range list {
			d, err := define(&list[i])
			if err != nil {
				t.Fatal(err)
			}
			definitions = append(definitions, d)
		}
		want, err := json.MarshalIndent(definitions, "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := encodeUsers(list, nil); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s, want %s, %v", got, want, err)
		}
	}
}
