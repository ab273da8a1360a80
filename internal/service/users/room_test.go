package users

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/mtwire/mtwire/proxy"
)

// Two processes that admit clients at the same time admit no more of them than one, whatever the
// limits are, and what is there already. The new one gets the last place.
func TestTwoProcessesDivideTheRoom(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		limits := Limits{MaxConnections: random.IntN(8), MaxAddresses: random.IntN(8)}
		old, next := newPolicy(alice(limits)), newPolicy(alice(limits))
		var open []*session
		networks := make(map[string]bool)
		enter := func(p *Policy) bool {
			network := fmt.Sprint("192.0.2.", random.IntN(10))
			s, err := admit(p, "alice", network+":1")
			if err == nil {
				open = append(open, s)
				networks[network] = true
			}
			return err == nil
		}
		for range random.IntN(8) {
			enter(old)
		}
		old.SetRoom(LesserHalf)
		share(t, old, next)
		next.SetRoom(GreaterHalf)
		least := limits.MaxConnections == 0 && limits.MaxAddresses == 0 || (limits.MaxConnections == 0 || len(open) < limits.MaxConnections) && len(networks) < limits.MaxAddresses
		if least && !enter(next) {
			t.Fatalf("%+v: the new process has no room for the last place", limits)
		}
		for range 30 {
			switch random.IntN(10) {
			case 0:
				share(t, old, next)
			case 1:
				if len(open) > 0 {
					i := random.IntN(len(open))
					open[i].Close(nil)
					open = append(open[:i], open[i+1:]...)
				}
			case 2:
				for i, s := range open {
					if s.account.(*account).policy == old {
						open[i] = goesOn(t, s, next)
						share(t, old, next)
						break
					}
				}
			case 3, 4:
				enter(old)
			default:
				enter(next)
			}
			if limits.MaxConnections > 0 && len(open) > limits.MaxConnections || limits.MaxAddresses > 0 && len(networks) > limits.MaxAddresses {
				t.Fatalf("%+v: %d connections of %d addresses", limits, len(open), len(networks))
			}
		}
	}
}

// goesOn has s go on in the next process, and returns it there.
func goesOn(t *testing.T, s *session, next *Policy) *session {
	t.Helper()
	there := newSession("alice", s.client)
	var err error
	if there.account, err = next.Adopt(t.Context(), there); err != nil {
		t.Fatal(err)
	}
	s.account.(proxy.Releaser).Released(s.Report())
	return there
}

// When the old process has no room any more, the new one has all of it. What has ended in the old
// one can be taken there again until the new one knows.
func TestTheOldProcessHasNoRoomInTheEnd(t *testing.T) {
	users := []User{alice(Limits{MaxConnections: 2, MaxAddresses: 2}), {Name: "bob"}}
	old, next := newPolicy(users...), newPolicy(users...)
	stays := admitted(t, old, "alice", "192.0.2.1:1")
	old.SetRoom(NoRoom)
	share(t, old, next)
	refused(t, old, "alice", "192.0.2.1:1", OverConnections)
	admitted(t, old, "bob", client)
	stays.Close(nil)
	refused(t, old, "alice", "192.0.2.2:1", OverAddresses)
	admitted(t, old, "alice", "192.0.2.1:1").Close(nil)
	share(t, old, next)
	refused(t, old, "alice", "192.0.2.1:1", OverConnections)
	admitted(t, next, "alice", "192.0.2.1:1")
	admitted(t, next, "alice", "192.0.2.2:1")
	old.Alone() // the upgrade has failed
	admitted(t, old, "alice", "192.0.2.1:1")
}
