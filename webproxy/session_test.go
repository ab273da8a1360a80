package webproxy

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"testing"
)

// receive is Receive in the shared lane, and returns the types of the frames.
func receive(t *testing.T, s *Session, frames ...Frame) (types []FrameType, err error) {
	t.Helper()
	got, err := s.Receive(nil, SharedLane, batch(frames...))
	for _, f := range got {
		types = append(types, f.Type)
	}
	return types, err
}

func refused(t *testing.T, s *Session, frames ...Frame) {
	t.Helper()
	if got, err := receive(t, s, frames...); !errors.Is(err, ErrProtocol) || got != nil {
		t.Errorf("%v, %v: want a protocol error and no frames", got, err)
	}
	if _, err := receive(t, s, open(4242)); s.side == Relay && err == nil {
		t.Error("the session goes on after the error")
	}
}

func TestASessionBeginsWithHelloAlone(t *testing.T) {
	for _, first := range [][]byte{batch(open(1)), append(AppendHello(nil), batch(open(1))...), AppendWelcome(nil), nil, append(AppendHello(nil), AppendHello(nil)...)} {
		if _, err := NewSession(Relay).Receive(nil, SharedLane, first); !errors.Is(err, ErrProtocol) {
			t.Errorf("%x: %v", first, err)
		}
	}
	for _, first := range [][]byte{AppendHello(nil), append(AppendWelcome(nil), batch(closing(1))...), append(AppendWelcome(nil), AppendWelcome(nil)...)} {
		if _, err := NewSession(App).Receive(nil, SharedLane, first); !errors.Is(err, ErrProtocol) {
			t.Errorf("app, %x: %v", first, err)
		}
	}
	refused(t, newSession(t, Relay), Frame{HelloFrame, 0, []byte{1}})
	refused(t, newSession(t, App), Frame{WelcomeFrame, 0, nil})
}

// Each type has a direction, but for those of a stream's bytes.
func TestFramesOfTheOtherDirectionEndTheSession(t *testing.T) {
	for _, f := range []Frame{{PingFrame, 0, nil}, {ByeFrame, 0, nil}, {WelcomeFrame, 0, nil}} {
		refused(t, newSession(t, Relay), f)
	}
	for _, f := range []Frame{{PongFrame, 0, nil}, {HelloFrame, 0, []byte{1}}, open(1)} {
		refused(t, newSession(t, App), f)
	}
	if got, err := receive(t, newSession(t, Relay), Frame{PongFrame, 0, []byte("a")}); err != nil || len(got) != 1 {
		t.Error(got, err)
	}
	if got, err := receive(t, newSession(t, App), Frame{PingFrame, 0, nil}, Frame{ByeFrame, 0, nil}); err != nil || len(got) != 2 {
		t.Error(got, err)
	}
}

// The window of a stream is 4 MiB, and a byte more ends the session. What is granted
// may be sent again.
func TestTheWindowIsExact(t *testing.T) {
	s := newSession(t, Relay)
	mega := Frame{DataFrame, 7, make([]byte, MaxPayload)}
	if _, err := receive(t, s, open(7)); err != nil {
		t.Fatal(err)
	}
	for range InitialWindow / MaxPayload {
		if _, err := receive(t, s, mega); err != nil {
			t.Fatal(err)
		}
	}
	stream := s.Stream(7)
	if stream.Ungranted() != InitialWindow {
		t.Fatal(stream.Ungranted())
	}
	grant := stream.AppendWindow(nil, 10)
	if !bytes.Equal(grant, batch(window(7, 10))) || stream.Ungranted() != InitialWindow-10 {
		t.Errorf("%x", grant)
	}
	if _, err := receive(t, s, data(7, "0123456789")); err != nil {
		t.Fatal(err)
	}
	refused(t, s, data(7, "x"))
	defer func() {
		if recover() == nil {
			t.Error("more is granted than was received")
		}
	}()
	stream.AppendWindow(nil, InitialWindow+1)
}

func TestCreditIsSpentBySendingAndSaturates(t *testing.T) {
	s := newSession(t, App)
	b, stream, err := s.AppendOpen(nil, 0)
	if err != nil || !bytes.Equal(b, batch(open(1))) {
		t.Fatalf("%x, %v", b, err)
	}
	sent := 0
	p := make([]byte, MaxPayload+1)
	for {
		b, n := stream.AppendData(nil, p, MaxPayload)
		if n == 0 {
			if len(b) != 0 {
				t.Error("a frame without bytes")
			}
			break
		}
		if sent += n; CheckBatch(b) != nil {
			t.Fatal(CheckBatch(b))
		}
	}
	if sent != InitialWindow || stream.Credit() != 0 {
		t.Errorf("sent %d, credit %d", sent, stream.Credit())
	}
	if _, err := receive(t, s, window(1, 3), window(1, math.MaxUint32), window(1, math.MaxUint32)); err != nil {
		t.Fatal(err)
	}
	if stream.credit != math.MaxUint32 {
		t.Errorf("credit %d", stream.credit)
	}
	if _, n := stream.AppendData(nil, []byte("four"), 3); n != 3 {
		t.Errorf("%d bytes with a limit of 3", n)
	}
}

// An app may begin with any id and go down: Telegram Desktop goes on counting over
// sessions, and ids wrap there.
func TestStreamsMayHaveTheirIDsInAnyOrder(t *testing.T) {
	s := newSession(t, Relay)
	for id := uint32(7777); id > 7770; id-- {
		if got, err := receive(t, s, open(id), data(id, "x")); err != nil || len(got) != 2 {
			t.Fatal(id, got, err)
		}
	}
	if got, err := receive(t, s, open(MaxStream), open(1)); err != nil || len(got) != 2 || s.Len() != 9 {
		t.Fatal(got, err)
	}
}

func TestAnIDIsUsedOnce(t *testing.T) {
	s := newSession(t, Relay)
	receive(t, s, open(1))
	refused(t, s, open(1))
	s = newSession(t, Relay)
	receive(t, s, open(1), closing(1))
	refused(t, s, open(1))
	s = newSession(t, Relay)
	receive(t, s, open(1))
	s.AppendClose(nil, 1)
	refused(t, s, open(1))
}

// Frames of a closed stream have crossed its CLOSE. Their shape is checked.
func TestLateFramesOfAClosedStreamAreIgnored(t *testing.T) {
	s := newSession(t, Relay)
	receive(t, s, open(1), open(2))
	if got := s.AppendClose(nil, 1); !bytes.Equal(got, batch(closing(1))) || !s.Closed(1) || s.Stream(1) != nil {
		t.Errorf("%x", got)
	}
	if got := s.AppendClose(nil, 1); got != nil {
		t.Errorf("a second CLOSE: %x", got)
	}
	if got, err := receive(t, s, data(1, "late"), window(1, 1), closing(1), closing(1), closing(2)); err != nil || len(got) != 1 {
		t.Error(got, err)
	}
	refused(t, s, Frame{WindowFrame, 1, make([]byte, 4)})
}

func TestFramesOfAStreamThatWasNeverOpenEndTheSession(t *testing.T) {
	for _, side := range []Side{Relay, App} {
		for _, f := range []Frame{data(3, "x"), window(3, 1), closing(3)} {
			refused(t, newSession(t, side), f)
		}
	}
}

// A session remembers the last 4,096 ids of closed streams; the one before is
// unknown.
func TestClosedIDsAreForgottenInOrder(t *testing.T) {
	s := newSession(t, Relay)
	for id := uint32(1); id <= maxClosed+1; id++ {
		if _, err := receive(t, s, open(id), closing(id)); err != nil {
			t.Fatal(err)
		}
	}
	if s.Closed(1) || !s.Closed(2) || !s.Closed(maxClosed+1) || len(s.closed.ids) != maxClosed {
		t.Error(s.Closed(1), s.Closed(2), len(s.closed.ids))
	}
	if _, err := receive(t, s, closing(2)); err != nil {
		t.Error(err)
	}
	refused(t, s, closing(1))
}

// No frame of a batch is given to the caller if one of them is an error.
func TestABatchIsCheckedBeforeItsFramesAreUsed(t *testing.T) {
	refused(t, newSession(t, Relay), open(1), data(1, "x"), open(1))
	refused(t, newSession(t, Relay), open(1), data(2, "x"))
}

func TestALaneCarriesItsStreamOnly(t *testing.T) {
	s := newSession(t, Relay)
	if got, err := s.Receive(nil, 5, batch(open(5), data(5, "x"))); err != nil || len(got) != 2 {
		t.Fatal(got, err)
	}
	for _, b := range [][]byte{batch(data(5, "x"), open(6)), batch(Frame{PongFrame, 0, nil}), batch(open(5))} {
		if got, err := s.Receive(nil, 5, b); !errors.Is(err, ErrProtocol) || got != nil {
			t.Errorf("%x: %v, %v", b, got, err)
		}
	}
	if _, err := s.Receive(nil, SessionLane, batch(data(5, "x"))); !errors.Is(err, ErrProtocol) {
		t.Errorf("lane 0: %v", err)
	}
	if got, err := s.Receive(nil, SessionLane, batch(Frame{PongFrame, 0, []byte("x")})); err != nil || len(got) != 1 {
		t.Error(got, err)
	}
	// An error of a lane is no other's.
	if got, err := s.Receive(nil, 6, batch(open(6))); err != nil || len(got) != 1 {
		t.Error(got, err)
	}
	// Lane 9 may be forgotten. It does not open without OPEN.
	if got, err := s.Receive(nil, 9, batch(data(9, "x"), window(9, 1), closing(9))); err != nil || len(got) != 0 || s.Stream(9) != nil {
		t.Error(got, err)
	}
	if _, err := s.Receive(nil, 9, batch(data(9, "x"), open(9))); !errors.Is(err, ErrProtocol) {
		t.Errorf("OPEN is not the first: %v", err)
	}
}

func TestAnAppRunsOutOfIDs(t *testing.T) {
	s := newSession(t, App)
	if _, _, err := s.AppendOpen(nil, MaxStream); err != nil {
		t.Fatal(err)
	}
	if b, _, err := s.AppendOpen(nil, 0); !errors.Is(err, ErrNoStreamID) || b != nil {
		t.Errorf("%x, %v", b, err)
	}
}

// Two sides that use the state machine do not disagree, whatever they do in whatever
// order, and no byte is lost, doubled or reordered.
func TestBothSidesAgree(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		agree(t, r)
	}
}

func agree(t *testing.T, r *rand.Rand) {
	sides := [2]*Session{newSession(t, App), newSession(t, Relay)}
	var wire [2][]byte // what each side has sent and the other has not received
	sent, received := [2]map[uint32][]byte{{}, {}}, [2]map[uint32][]byte{{}, {}}
	for range 2000 {
		from := r.IntN(2)
		s := sides[from]
		id := uint32(1 + r.IntN(20))
		stream := s.Stream(id)
		switch op := r.IntN(10); {
		case op == 0 && from == 0 && stream == nil && !s.Closed(id):
			wire[from], _, _ = s.AppendOpen(wire[from], id)
		case op == 1 && r.IntN(10) == 0:
			wire[from] = s.AppendClose(wire[from], id)
		case op < 6 && stream != nil:
			p := make([]byte, 1+r.IntN(50))
			p[0] = byte(r.Uint32())
			var n int
			wire[from], n = stream.AppendData(wire[from], p, MaxPayload)
			sent[from][id] = append(sent[from][id], p[:n]...)
		case op == 6 && stream != nil && stream.Ungranted() > 0:
			wire[from] = stream.AppendWindow(wire[from], 1+r.IntN(stream.Ungranted()))
		case op > 6 && len(wire[from]) > 0:
			frames, err := sides[1-from].Receive(nil, SharedLane, wire[from])
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range frames {
				if f.Type == DataFrame {
					received[1-from][f.Stream] = append(received[1-from][f.Stream], f.Payload...)
				}
			}
			wire[from] = nil
		}
		for from := range sides {
			for id, got := range received[1-from] {
				if !bytes.HasPrefix(sent[from][id], got) {
					t.Fatalf("stream %d: received %x of %x", id, got, sent[from][id])
				}
			}
		}
	}
}

// Whatever a peer sends, a session keeps its limits: windows, remembered ids, and
// nothing after an error.
func FuzzSession(f *testing.F) {
	f.Add(true, batch(open(1), data(1, "abc"), window(1, 9), closing(1), data(1, "late")), batch(open(2)))
	f.Add(true, batch(open(7777), open(7776)), batch(closing(7777), closing(7777)))
	f.Add(false, batch(Frame{PingFrame, 0, []byte("p")}, data(1, "x")), batch(window(1, 1<<31), closing(1)))
	f.Fuzz(func(t *testing.T, relay bool, first, second []byte) {
		side := App
		if relay {
			side = Relay
		}
		s := newSession(t, side)
		if !relay {
			s.AppendOpen(nil, 1)
		}
		for _, b := range [][]byte{first, second} {
			failed := s.err != nil
			frames, err := s.Receive(nil, SharedLane, b)
			if failed && err == nil || err != nil && (len(frames) > 0 || !errors.Is(err, ErrProtocol)) {
				t.Fatal(frames, err)
			}
			for id, stream := range s.streams {
				if stream.window+stream.pending != InitialWindow || stream.credit < InitialWindow || s.Closed(id) {
					t.Fatalf("stream %+v", stream)
				}
			}
			if len(s.closed.ids) > maxClosed {
				t.Fatal("too many ids")
			}
		}
	})
}
