package splice

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A direction that moves bulk moves the short messages of others, too, in place of the
// Poller's goroutines, for which the scheduler may have no processor: here they do not
// run.
func TestBulkMovesTheShortMessagesOfOthers(t *testing.T) {
	for name, treat := range treatments {
		poller, err := NewPoller()
		if err != nil {
			t.Fatal(err)
		}
		message := bytes.Repeat([]byte("message "), 50)
		client, server, _ := connected(t, poller, treat)
		client.Write(message)
		server.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if n, err := server.Read(make([]byte, 1)); err == nil {
			t.Fatalf("%s: %d bytes came without bulk", name, n)
		}
		server.SetReadDeadline(time.Time{})

		bulkClient, left := pair(t)
		right, bulkServer := pair(t)
		// First gives each direction a goroutine at once.
		up, down := Flow{Dst: right, Src: left, First: []byte{1}}, Flow{Dst: left, Src: right, First: []byte{1}}
		p := Start(up, down, &Config{Poller: poller, Idle: endless}, func(Result, Result) {})
		go io.Copy(io.Discard, bulkServer)
		go func() {
			for b := make([]byte, 1<<20); ; {
				if _, err := bulkClient.Write(b); err != nil {
					return
				}
			}
		}()
		if err := readMessage(server, name, message); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		p.Abort(errors.New("the test is over"))
		bulkClient.Close()
		bulkServer.Close()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		poller.Serve(ctx)
	}
}

// heldPoller returns a Poller whose goroutines do not run: what moves is moved by help.
func heldPoller(t *testing.T) *Poller {
	t.Helper()
	poller, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		poller.Serve(ctx) // which closes it
	})
	return poller
}

// helpUntil helps until condition holds.
func helpUntil(t *testing.T, poller *Poller, condition func() bool) {
	for deadline := time.Now().Add(patience); !condition(); poller.help() {
		if time.Now().After(deadline) {
			t.Error("help does not help")
			return
		}
		runtime.Gosched()
	}
}

// What a goroutine has taken to move delays nothing but that while its thread does not
// run: another one moves the messages of other connections.
func TestHelpGoesOnBesideOneThatIsHeldUp(t *testing.T) {
	poller := heldPoller(t)
	held, release := make(chan bool), make(chan bool)
	first, firstServer, _ := connected(t, poller, func(f *Flow) {
		f.Transform = func(b []byte) (int, error) {
			held <- true
			<-release
			return len(b), nil
		}
	})
	first.Write([]byte("first"))
	go helpUntil(t, poller, func() bool { // until it is held, and then once more
		select {
		case <-release:
			return true
		default:
			return false
		}
	})
	<-held
	for range 4 { // in each set, whatever their number
		client, server, _ := connected(t, poller, func(*Flow) {})
		client.Write([]byte("message"))
		came := make(chan error, 1)
		go func() { came <- readMessage(server, "", []byte("message")) }()
		helpUntil(t, poller, func() bool { return len(came) > 0 })
		if err := <-came; err != nil {
			t.Fatal(err)
		}
	}
	close(release)
	if err := readMessage(firstServer, "", []byte("first")); err != nil {
		t.Error(err)
	}
}

// A message that comes while another goroutine moves the one before is moved by that
// one: its event does not come again.
func TestMessageDuringAMoveIsMoved(t *testing.T) {
	awaitNoDirections(t)
	poller := heldPoller(t)
	client, left := pair(t)
	right, server := pair(t)
	var p *Pair
	moves := 0
	up := Flow{Dst: right, Src: left, Transform: func(b []byte) (int, error) {
		if moves++; moves == 1 {
			client.Write([]byte("second"))
			helpUntil(t, poller, func() bool { return p.up.events.Load()&unix.EPOLLIN != 0 })
		}
		return len(b), nil
	}}
	p = Start(up, Flow{Dst: left, Src: right}, &Config{Poller: poller, Idle: endless}, func(Result, Result) {})
	defer func() { p.Abort(errors.New("the test is over")) }()
	client.Write([]byte("first "))
	helpUntil(t, poller, func() bool { return moves > 0 })
	if err := readMessage(server, "", []byte("first second")); err != nil {
		t.Error(err)
	}
	if n := runningDirections(); n > 0 {
		t.Errorf("%d directions have a goroutine", n)
	}
}

// A peer that does not stop gets a goroutine, so that others get their turn.
func TestPeerThatDoesNotStopGetsAGoroutine(t *testing.T) {
	poller := heldPoller(t)
	client, left := pair(t)
	right, server := pair(t)
	go io.Copy(io.Discard, server)
	var p *Pair
	inline, own := 0, make(chan bool, 1)
	up := Flow{Dst: right, Src: left, Transform: func(b []byte) (int, error) {
		stack := make([]byte, 1<<14)
		if strings.Contains(string(stack[:runtime.Stack(stack, false)]), "(*direction).run(") {
			select {
			case own <- true:
			default:
			}
			return len(b), nil
		}
		if inline++; inline < 10*wakeRounds {
			client.Write([]byte("message"))
			helpUntil(t, poller, func() bool { return p.up.events.Load()&unix.EPOLLIN != 0 })
		}
		return len(b), nil
	}}
	p = Start(up, Flow{Dst: left, Src: right}, &Config{Poller: poller, Idle: endless}, func(Result, Result) {})
	defer func() { p.Abort(errors.New("the test is over")) }()
	client.Write([]byte("message"))
	helpUntil(t, poller, func() bool { return inline > 0 })
	if inline > wakeRounds {
		t.Errorf("%d messages without a goroutine, want %d at most", inline, wakeRounds)
	}
	client.Write([]byte("message"))
	select {
	case <-own:
	case <-time.After(patience):
		t.Error("it has no goroutine")
	}
}

// While messages come, a direction looks for them within a long write, and after each
// system call that moves much. Otherwise it does not: a bulk transfer would take more
// processor time.
func TestLongWritesAreInterruptedForMessages(t *testing.T) {
	for _, chatting := range []bool{false, true} {
		poller := heldPoller(t)
		_, left := pair(t)
		right, server := pair(t)
		p := newPair(Flow{Dst: right, Src: left}, Flow{Dst: left, Src: right}, &Config{Poller: poller}, nil)
		sent := bytes.Repeat([]byte("0123456789abcdef"), bulkBytes/16)
		came := make(chan error, 1)
		go func() { came <- readMessage(server, "", sent) }()
		before := uint32(quietLooks)
		if chatting {
			before = 0
		}
		poller.quiet.Store(before)
		if n, err := p.up.send(sent); n != len(sent) || err != nil {
			t.Fatal(n, err)
		}
		p.up.glance(bulkBytes)
		if err := <-came; err != nil {
			t.Error(err)
		}
		want := uint32(0)
		if chatting {
			want = bulkBytes/pieceBytes - 1 + 1
		}
		if looks := poller.quiet.Load() - before; looks != want {
			t.Errorf("%d looks, want %d, with messages: %t", looks, want, chatting)
		}
	}
}

// A chat is over when many looks have found no message, and begins with the next one.
func TestChatBeginsWithAMessage(t *testing.T) {
	poller := heldPoller(t)
	client, server, _ := connected(t, poller, func(*Flow) {})
	if poller.chatting() {
		t.Error("a chat without a message")
	}
	client.Write([]byte("message"))
	helpUntil(t, poller, poller.chatting)
	if err := readMessage(server, "", []byte("message")); err != nil {
		t.Error(err)
	}
	looks := 0
	for ; poller.chatting() && looks < 2*quietLooks; looks++ {
		poller.help()
	}
	if looks != quietLooks {
		t.Errorf("over after %d looks, want %d", looks, quietLooks)
	}
}
