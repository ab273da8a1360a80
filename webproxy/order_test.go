package webproxy

import (
	"bytes"
	"errors"
	"testing"
)

// The last upload may be repeated with the same bytes. Other bytes, a gap, and an
// older one are errors.
func TestUploadsAreInOrder(t *testing.T) {
	var u UpReceiver
	check := func(sequence uint64, body string, want string) {
		t.Helper()
		fresh, err := u.Check(sequence, []byte(body))
		got := "repeat"
		switch {
		case errors.Is(err, ErrProtocol):
			got = "error"
		case err != nil:
			t.Fatal(err)
		case fresh:
			got = "new"
		}
		if got != want {
			t.Errorf("%d %q: %s, want %s", sequence, body, got, want)
		}
	}
	check(0, "", "error")
	check(2, "a", "error")
	check(1, "a", "new")
	check(1, "b", "new") // the one before was refused for now
	u.Accept()
	check(1, "b", "repeat")
	check(1, "b", "repeat")
	check(1, "a", "error")
	check(3, "c", "error")
	check(2, "c", "new")
	u.Accept()
	check(1, "b", "error")
	check(2, "c", "repeat")

	var s UpSender
	for want := uint64(1); want < 4; want++ {
		if s.Next() != want {
			t.Fatal(s.Next())
		}
		for _, wrong := range []uint64{want - 1, want + 1} {
			if err := s.Acknowledge(wrong); !errors.Is(err, ErrProtocol) {
				t.Errorf("%d for %d: %v", wrong, want, err)
			}
		}
		if err := s.Acknowledge(want); err != nil {
			t.Fatal(err)
		}
	}
}

// A cursor acknowledges its batch. The cursor before repeats it byte for byte.
// Every other ends the session.
func TestBatchesAreKeptUntilTheyAreAcknowledged(t *testing.T) {
	var relay DownSender
	var app DownReceiver
	if repeat, n, err := relay.Poll(app.Cursor()); repeat != nil || n != 0 || err != nil {
		t.Fatal(repeat, n, err)
	}
	if _, _, err := relay.Poll(1); !errors.Is(err, ErrProtocol) {
		t.Errorf("a cursor without its batch: %v", err)
	}
	parts := [][]byte{[]byte("abc"), []byte("de")}
	if cursor := relay.Send(parts); cursor != 1 || !relay.Pending() {
		t.Fatal(cursor)
	}
	for range 2 {
		repeat, n, err := relay.Poll(0)
		if err != nil || n != 0 || !bytes.Equal(bytes.Join(repeat, nil), []byte("abcde")) {
			t.Fatal(repeat, n, err)
		}
	}
	if _, _, err := relay.Poll(2); !errors.Is(err, ErrProtocol) {
		t.Errorf("a cursor ahead: %v", err)
	}
	for _, wrong := range []uint64{0, 2} {
		if err := app.Receive(wrong, true); !errors.Is(err, ErrProtocol) {
			t.Errorf("a batch with cursor %d: %v", wrong, err)
		}
	}
	if err := app.Receive(1, true); err != nil {
		t.Fatal(err)
	}
	if err := app.Receive(1, false); err != nil {
		t.Error(err)
	}
	if err := app.Receive(2, false); !errors.Is(err, ErrProtocol) {
		t.Errorf("an empty answer with the next cursor: %v", err)
	}
	repeat, n, err := relay.Poll(app.Cursor())
	if repeat != nil || n != 5 || err != nil || relay.Pending() || relay.Cursor() != 1 {
		t.Error(repeat, n, err)
	}
	if _, _, err := relay.Poll(0); !errors.Is(err, ErrProtocol) {
		t.Errorf("a cursor behind: %v", err)
	}
}
