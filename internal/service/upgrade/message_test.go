package upgrade

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/mtwire/mtwire/proxy"
)

// The highest common version is spoken; where there is none, the hello is refused.
func TestVersions(t *testing.T) {
	for _, test := range []struct {
		lowest, highest uint16
		want            uint16 // 0: refused
	}{
		{1, 1, 1}, {1, 7, 1}, {0, 1, 1}, {2, 7, 0}, {0, 0, 0}, {7, 1, 0},
	} {
		got, err := parseHello(appendHello(nil, test.lowest, test.highest))
		if got != test.want || (err == nil) != (test.want > 0) {
			t.Errorf("%d to %d: %d, %v", test.lowest, test.highest, got, err)
		}
	}
	for _, b := range [][]byte{nil, {1}, append([]byte{2}, magic...), append([]byte{1}, magic...)} {
		if _, err := parseHello(b); err == nil {
			t.Errorf("%q was parsed", b)
		}
	}
}

// Messages are parsed as they were appended.
func TestMessagesAreParsedAsTheyWereAppended(t *testing.T) {
	listeners := []Listener{{Use: Clients, Address: ":443"}, {Use: Inherited}, {Use: Admin, Address: "unix"}}
	b, err := appendListeners(nil, listeners)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := parseListeners(b); err != nil || !reflect.DeepEqual(got, listeners) {
		t.Errorf("%+v, %v", got, err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	var states [][]byte
	var want []*proxy.SessionState
	for range maxBatch {
		s := randomSession(r)
		state, err := AppendSession(nil, s)
		if err != nil {
			t.Fatal(err)
		}
		states, want = append(states, state), append(want, s)
	}
	states, want = append(states[:3], []byte("no session")), append(want[:3], nil)
	batch, got, err := parseSessions(appendSessions(nil, 7, states))
	if err != nil || batch != 7 || !reflect.DeepEqual(got, want) {
		t.Error(batch, err)
	}
	chosen := []bool{true, false, true}
	b = appendChosen(nil, heldMessage, 7, chosen)
	if got, err := parseChosen(b, heldMessage, 7, 3); err != nil || !reflect.DeepEqual(got, chosen) {
		t.Error(got, err)
	}
	for name, err := range map[string]error{
		"other kind":   second(parseChosen(b, commitMessage, 7, 3)),
		"other batch":  second(parseChosen(b, heldMessage, 8, 3)),
		"other number": second(parseChosen(b, heldMessage, 7, 4)),
	} {
		if err == nil {
			t.Errorf("%s: parsed", name)
		}
	}
}

func second(_ []bool, err error) error { return err }

// Messages that are parsed are appended as the same bytes. A session that is none is nil.
func FuzzMessages(f *testing.F) {
	listeners, _ := appendListeners(nil, []Listener{{Use: Clients, Address: ":443"}})
	session, _ := AppendSession(nil, randomSession(rand.New(rand.NewPCG(1, 2))))
	f.Add(listeners)
	f.Add(appendSessions(nil, 7, [][]byte{session, nil}))
	f.Add(appendHello(nil, 1, 1))
	f.Add(appendChosen(nil, heldMessage, 7, []bool{true}))
	f.Fuzz(func(t *testing.T, b []byte) {
		parseHello(b)
		parseChosen(b, heldMessage, 7, 1)
		if all, err := parseListeners(b); err == nil && len(b) > 1 && int(b[1]) <= maxListeners {
			if again, err := appendListeners(nil, all); err != nil || !bytes.Equal(again, b) {
				t.Errorf("%x\n%x\n%v", b, again, err)
			}
		}
		if _, sessions, err := parseSessions(b); err == nil && len(sessions) > maxBatch {
			t.Errorf("%d sessions", len(sessions))
		}
	})
}
