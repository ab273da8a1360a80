package upgrade

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/proxy"
)

// The highest common version is spoken; where there is none, the hello is refused.
func TestVersions(t *testing.T) {
	for _, test := range []struct {
		lowest, highest uint16
		want            uint16 // 0: refused
	}{
		{1, 1, 1}, {1, 2, 2}, {2, 2, 2}, {1, 7, 2}, {0, 1, 1}, {3, 7, 0}, {0, 0, 0}, {7, 1, 0},
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

// The answer has the version of the program, unless the program is older than that. A version
// of the protocol that this program does not speak is an error.
func TestTheAnswerHasBothVersions(t *testing.T) {
	for version := range HighestVersion + 2 {
		spoken, got, err := parseVersion(appendVersion(nil, version, "v1.2.3"))
		if known := version >= lowestVersion && version <= HighestVersion; (err == nil) != known || known && (got != "v1.2.3" || spoken != version) {
			t.Errorf("%d: %q, %v", version, got, err)
		}
	}
	if _, got, err := parseVersion([]byte{2, 0, lowestVersion}); got != "" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for _, b := range [][]byte{{2}, {2, 0}, append([]byte{2, 0, lowestVersion}, make([]byte, maxText+1)...)} {
		if _, _, err := parseVersion(b); err == nil {
			t.Errorf("%d bytes were parsed", len(b))
		}
	}
}

// Messages are parsed as they were appended.
func TestMessagesAreParsedAsTheyWereAppended(t *testing.T) {
	listeners := []Listener{{Use: Clients, Address: ":443"}, {Use: Inherited}, {Use: Admin, Address: "unix"}, {Use: Web, Address: "127.0.0.1:8081"}}
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
	batch, got, err := parseSessions(appendSessions(nil, 7, states), new(sessionMemory))
	if err != nil || batch != 7 || !reflect.DeepEqual(got, want) {
		t.Error(batch, err)
	}
	chosen := []bool{true, false, true}
	b = appendCommitment(nil, 7, chosen)
	if got, err := parseCommitment(b, 7, 3); err != nil || !reflect.DeepEqual(got, chosen) {
		t.Error(got, err)
	}
	answers := []byte{isHeld, notHeld, notAdmitted, tooMany}
	held := appendAnswers(nil, 7, answers)
	if got, err := parseAnswers(held, 7, 4); err != nil || !bytes.Equal(got, answers) {
		t.Error(got, err)
	}
	for name, err := range map[string]error{
		"commitment of another kind": second(parseCommitment(held, 7, 3)),
		"of another batch":           second(parseCommitment(b, 8, 3)),
		"of another number":          second(parseCommitment(b, 7, 4)),
		"of another value":           second(parseCommitment(append(b[:len(b)-1], 2), 7, 3)),
		"answers of another kind":    second(parseAnswers(b, 7, 3)),
		"of another batch ":          second(parseAnswers(held, 8, 4)),
		"of another number ":         second(parseAnswers(held, 7, 2)),
		"of another value ":          second(parseAnswers(append(held[:len(held)-1], 4), 7, 4)),
	} {
		if err == nil {
			t.Errorf("%s: parsed", name)
		}
	}
	unknown := []string{"alice", "", "bób"}
	b = appendServing(nil, append(unknown, strings.Repeat("u", maxText+1)))
	if got, err := parseServing(b); err != nil || !reflect.DeepEqual(got, unknown) {
		t.Error(got, err)
	}
	if got, err := parseServing(b[:len(b)-1]); err == nil {
		t.Errorf("%q: parsed", got)
	}
	if got, err := parseNames(b, stoppedMessage); err == nil {
		t.Errorf("%q: parsed", got)
	}
}

func second[T any](_ T, err error) error { return err }

// State is split into messages, in order. An element that has no room in any is left out.
func TestStateIsParsedAsItWasAppended(t *testing.T) {
	var elements [][]byte
	var want []json.RawMessage
	for i := range 2000 {
		element := fmt.Appendf(nil, `{"n":%d,"text":%q}`, i, strings.Repeat("x", i%200))
		elements, want = append(elements, element), append(want, element)
	}
	elements = slices.Insert(elements, 1000, fmt.Appendf(nil, "%q", strings.Repeat("x", maxMessage)))
	var got []json.RawMessage
	messages := 0
	for rest := elements; len(rest) > 0; messages++ {
		var message []byte
		message, rest = appendState(nil, "part", rest)
		part, some, err := parseState(message)
		if err != nil || part != "part" || len(message) > maxMessage {
			t.Fatalf("%q, %v, %d bytes", part, err, len(message))
		}
		got = append(got, some...)
	}
	if !reflect.DeepEqual(got, want) || messages > 6 {
		t.Errorf("%d elements in %d messages, want %d", len(got), messages, len(want))
	}
	for _, b := range []string{"", "\x0d", "\x0d\x00[]", "\x0d\x01p", "\x0d\x01pnull", "\x0d\x01p[1", "\x0d\x02p[1]", "\x0c\x01p[1]", "\x0d\x01p[1]2", "\x0d\x41" + strings.Repeat("p", 65) + "[]"} {
		if _, _, err := parseState([]byte(b)); err == nil {
			t.Errorf("%q: parsed", b)
		}
	}
}

// Messages that are parsed are appended as the same bytes. A session that is none is nil.
func FuzzMessages(f *testing.F) {
	listeners, _ := appendListeners(nil, []Listener{{Use: Clients, Address: ":443"}})
	session, _ := AppendSession(nil, randomSession(rand.New(rand.NewPCG(1, 2))))
	f.Add(listeners)
	f.Add(appendSessions(nil, 7, [][]byte{session, nil}))
	f.Add(appendHello(nil, 1, 1))
	f.Add(appendCommitment(nil, 7, []bool{true}))
	f.Add(appendAnswers(nil, 7, []byte{isHeld}))
	f.Add([]byte{byte(versionMessage), 0, 2})
	f.Add(appendServing(nil, []string{"alice"}))
	f.Add(appendNames(nil, stoppedMessage, []string{"alice"}))
	state, _ := appendState(nil, "user", [][]byte{[]byte("1"), []byte(`{"a":[]}`)})
	f.Add(state)
	f.Fuzz(func(t *testing.T, b []byte) {
		parseHello(b)
		if version, _, err := parseVersion(b); err == nil && (version < lowestVersion || version > HighestVersion) {
			t.Errorf("version %d", version)
		}
		if chosen, err := parseCommitment(b, 7, 1); err == nil && !bytes.Equal(appendCommitment(nil, 7, chosen), b) {
			t.Errorf("%x", b)
		}
		if answers, err := parseAnswers(b, 7, 1); err == nil && !bytes.Equal(appendAnswers(nil, 7, answers), b) {
			t.Errorf("%x", b)
		}
		if unknown, err := parseServing(b); err == nil && len(b) <= maxMessage && !bytes.Equal(appendServing(nil, unknown), b) {
			t.Errorf("%x", b)
		}
		if names, err := parseNames(b, stoppedMessage); err == nil && len(b) <= maxMessage && !bytes.Equal(appendNames(nil, stoppedMessage, names), b) {
			t.Errorf("%x", b)
		}
		if part, elements, err := parseState(b); err == nil {
			raw := make([][]byte, 0, len(elements))
			for _, e := range elements {
				raw = append(raw, e)
			}
			again, _ := appendState(nil, part, raw)
			name, same, err := parseState(again)
			if len(b) <= maxMessage && (err != nil || name != part || len(same) != len(elements)) {
				t.Errorf("%q\n%q\n%v", b, again, err)
			}
		}
		if all, err := parseListeners(b); err == nil && len(b) > 1 && int(b[1]) <= maxListeners {
			if again, err := appendListeners(nil, all); err != nil || !bytes.Equal(again, b) {
				t.Errorf("%x\n%x\n%v", b, again, err)
			}
		}
		if _, sessions, err := parseSessions(b, new(sessionMemory)); err == nil && len(sessions) > maxBatch {
			t.Errorf("%d sessions", len(sessions))
		}
	})
}
