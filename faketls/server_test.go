package faketls

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// handshake runs both ends over a pipe and returns their results.
func handshake(t *testing.T, clientCfg *ClientConfig, serverCfg *ServerConfig) (client, server *Conn, clientErr, serverErr error) {
	t.Helper()
	a, b := net.Pipe()
	t.Cleanup(func() { a.Close(); b.Close() })
	client, server = Client(a, clientCfg), Server(b, serverCfg)
	done := make(chan error)
	go func() {
		err := server.Handshake(t.Context())
		if err != nil {
			server.Close()
		}
		done <- err
	}()
	clientErr = client.Handshake(t.Context())
	serverErr = <-done
	return client, server, clientErr, serverErr
}

func TestClientAndServerShakeHands(t *testing.T) {
	now := time.Unix(1767225600, 0)
	clientCfg := &ClientConfig{Key: vectorKey, Domain: "example.com", Time: func() time.Time { return now.Add(7 * time.Second) }}
	var digest [16]byte
	serverCfg := &ServerConfig{
		Keys:     [][16]byte{otherKey, vectorKey},
		Time:     func() time.Time { return now },
		CheckSNI: func(key int, sni string) bool { return key == 1 && sni == "example.com" },
		Replay:   func(d [16]byte) bool { digest = d; return false },
		Flight:   func() Flight { return Flight{DataSize: 3000} },
	}
	client, server, clientErr, serverErr := handshake(t, clientCfg, serverCfg)
	if clientErr != nil || serverErr != nil {
		t.Fatalf("client: %v, server: %v", clientErr, serverErr)
	}
	if want := (Info{1, "example.com", now.Add(7 * time.Second)}); server.Info() != want {
		t.Errorf("Info is %v, want %v", server.Info(), want)
	}
	if client.Info() != (Info{}) {
		t.Errorf("Info of a client is %v, want zero", client.Info())
	}
	if digest == ([16]byte{}) {
		t.Error("Replay was not asked")
	}
	go client.Write([]byte("hello"))
	if got := readN(t, server, 5); string(got) != "hello" {
		t.Errorf("server read %q", got)
	}
	go server.Write([]byte("hi"))
	if got := readN(t, client, 2); string(got) != "hi" {
		t.Errorf("client read %q", got)
	}
}

func TestFirstReadAndWriteShakeHands(t *testing.T) {
	a, b := tcpPair(t)
	client := Client(a, &ClientConfig{Key: vectorKey, Domain: "example.com"})
	server := Server(b, &ServerConfig{Keys: [][16]byte{vectorKey}})
	done := make(chan error, 1)
	go func() {
		_, err := client.Write([]byte("hello"))
		done <- err
	}()
	if got := readN(t, server, 5); string(got) != "hello" {
		t.Errorf("server read %q", got)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// offer sends hello to a server and returns its error, after making sure that
// the server sent nothing.
func offer(t *testing.T, cfg *ServerConfig, hello []byte) error {
	t.Helper()
	a, b := tcpPair(t)
	server := Server(b, cfg)
	if _, err := a.Write(hello); err != nil {
		t.Fatal(err)
	}
	a.CloseWrite()
	err := server.Handshake(t.Context())
	if again := server.Handshake(t.Context()); again != err {
		t.Errorf("second Handshake: %v, want %v", again, err)
	}
	defer server.Close()
	if err != nil {
		if _, again := server.Read(make([]byte, 1)); again != err {
			t.Errorf("Read: %v, want %v", again, err)
		}
		if _, again := server.Write([]byte("x")); again != err {
			t.Errorf("Write: %v, want %v", again, err)
		}
		server.Close()
		if answer, _ := io.ReadAll(a); len(answer) > 0 {
			t.Errorf("server answered % x", answer)
		}
	}
	return err
}

// Refusal writes nothing, says why, and hands back what was read, so that the
// same bytes can go elsewhere.
func TestServerRefusesWithEvidence(t *testing.T) {
	hello := signedHello(t)
	at := func(d time.Duration) func() time.Time {
		return func() time.Time { return vectorTime.Add(d) }
	}
	keys := [][16]byte{otherKey, vectorKey}
	yes := func([16]byte) bool { return true }
	for name, c := range map[string]struct {
		cfg      *ServerConfig
		send     []byte
		want     error
		key      int
		received int
	}{
		"wrong key":        {&ServerConfig{Keys: keys[:1]}, hello, ErrNoMatch, -1, 517},
		"no keys":          {&ServerConfig{}, hello, ErrNoMatch, -1, 517},
		"nil config":       {nil, hello, ErrNoMatch, -1, 517},
		"clock too late":   {&ServerConfig{Keys: keys, Time: at(121 * time.Second)}, hello, ErrStaleClock, 1, 517},
		"clock too early":  {&ServerConfig{Keys: keys, Time: at(-121 * time.Second)}, hello, ErrStaleClock, 1, 517},
		"small window":     {&ServerConfig{Keys: keys, Time: at(4 * time.Second), Window: 3 * time.Second}, hello, ErrStaleClock, 1, 517},
		"wrong name":       {&ServerConfig{Keys: keys, Time: at(0), CheckSNI: func(k int, s string) bool { return k != 1 || s != "" }}, hello, ErrWrongSNI, 1, 517},
		"replay":           {&ServerConfig{Keys: keys, Time: at(0), Replay: yes}, hello, ErrReplay, 1, 517},
		"malformed header": {&ServerConfig{Keys: keys}, unhex(t, "160301ffff"), ErrMalformed, -1, 5},
		"HTTP":             {&ServerConfig{Keys: keys}, []byte("GET / HTTP/1.1\r\n\r\n"), ErrMalformed, -1, 5},
		"cut off":          {&ServerConfig{Keys: keys}, hello[:500], io.ErrUnexpectedEOF, -1, 500},
		"silence":          {&ServerConfig{Keys: keys}, nil, io.EOF, -1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			err := offer(t, c.cfg, c.send)
			var reject *RejectError
			if !errors.As(err, &reject) || !errors.Is(err, c.want) {
				t.Fatalf("%v, want a *RejectError for %v", err, c.want)
			}
			if !bytes.Equal(reject.Received, c.send[:c.received]) {
				t.Errorf("Received has %d bytes, want the first %d sent", len(reject.Received), c.received)
			}
			if reject.Info.KeyIndex != c.key {
				t.Errorf("KeyIndex is %d, want %d", reject.Info.KeyIndex, c.key)
			}
		})
	}
}

// CheckKey is Check without the search, whatever Keys says.
func TestKeyFoundElsewhereIsCheckedLikeAnyOther(t *testing.T) {
	hello := mustParse(t, signedHello(t))
	want := Info{KeyIndex: 7, ClientTime: vectorTime}
	yes := func([16]byte) bool { return true }
	for name, c := range map[string]struct {
		cfg  *ServerConfig
		want error
	}{
		"good":       {&ServerConfig{Time: vectorClock, CheckSNI: func(k int, s string) bool { return k == 7 && s == "" }}, nil},
		"clock":      {&ServerConfig{Time: func() time.Time { return vectorTime.Add(time.Hour) }}, ErrStaleClock},
		"wrong name": {&ServerConfig{Time: vectorClock, CheckSNI: func(k int, s string) bool { return k != 7 }}, ErrWrongSNI},
		"replay":     {&ServerConfig{Time: vectorClock, Replay: yes}, ErrReplay},
	} {
		if info, err := c.cfg.CheckKey(&hello, 7, vectorTime); !errors.Is(err, c.want) || info != want {
			t.Errorf("%s: %v, %v; want %v, %v", name, info, err, want, c.want)
		}
	}
	cfg := &ServerConfig{Window: -1, Replay: func([16]byte) bool { t.Error("a hello without a key is remembered"); return false }}
	if info, err := cfg.CheckKey(&hello, -1, time.Time{}); err != ErrNoMatch || info != (Info{KeyIndex: -1}) {
		t.Errorf("no key: %v, %v; want ErrNoMatch", info, err)
	}
}

func TestServerAcceptsAnyClockIfToldTo(t *testing.T) {
	if err := offer(t, &ServerConfig{Keys: [][16]byte{vectorKey}, Window: -1}, signedHello(t)); err != nil {
		t.Error(err)
	}
}

// "Add to the replay cache after the HMAC matched": strangers cannot fill it,
// and the clock, which anyone can change, is not part of what is remembered.
func TestReplayMemorySeesOnlyGoodHellosAndNotTheirClock(t *testing.T) {
	seen := map[[16]byte]bool{}
	cfg := &ServerConfig{
		Keys: [][16]byte{vectorKey}, Window: -1,
		CheckSNI: func(_ int, sni string) bool { return sni == "" },
		Replay: func(d [16]byte) bool {
			known := seen[d]
			seen[d] = true
			return known
		},
	}
	forged := signedHello(t)
	forged[11] ^= 1
	wrongName := buildHello(t, extension(extensionServerName, appendServerName(nil, "x")))
	offer(t, cfg, forged)
	offer(t, cfg, wrongName)
	if len(seen) != 0 {
		t.Errorf("%d refused hellos are remembered", len(seen))
	}
	hello := signedHello(t)
	if err := offer(t, cfg, hello); err != nil {
		t.Fatal(err)
	}
	hello[42] ^= 1
	if err := offer(t, cfg, hello); !errors.Is(err, ErrReplay) {
		t.Errorf("the same hello with another clock: %v, want ErrReplay", err)
	}
}

func TestServerAcceptsFragmentedHello(t *testing.T) {
	if err := offer(t, &ServerConfig{Keys: [][16]byte{vectorKey}, Time: vectorClock}, fragment(signedHello(t), 1, 200, 9)); err != nil {
		t.Error(err)
	}
}

// mtcute sends its ChangeCipherSpec right behind the hello; the server leaves
// it where it is and skips it with the other records.
func TestServerReadsNothingBeyondTheHello(t *testing.T) {
	a, b := tcpPair(t)
	server := Server(b, &ServerConfig{Keys: [][16]byte{vectorKey}, Time: vectorClock})
	a.Write(join(signedHello(t), []byte(changeCipherSpec), appendRecords(nil, []byte("early"), 16640)))
	if err := server.Handshake(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := readN(t, server, 5); string(got) != "early" {
		t.Errorf("server read %q", got)
	}
}

// A silent peer is passed on to the fronting host after a while, with what it
// sent, on a connection that still works.
func TestHandshakeThatTimesOutLeavesTheConnectionUsable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		server := Server(b, &ServerConfig{Keys: [][16]byte{vectorKey}})
		half := signedHello(t)[:300]
		go a.Write(half)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		start := time.Now()
		err := server.Handshake(ctx)
		var reject *RejectError
		if !errors.As(err, &reject) || !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("%v, want a *RejectError after a timeout", err)
		}
		if !bytes.Equal(reject.Received, half) || time.Since(start) != 10*time.Second {
			t.Errorf("%d bytes received in %v, want 300 in 10s", len(reject.Received), time.Since(start))
		}
		go a.Write([]byte("more"))
		if got := readN(t, server.NetConn(), 4); string(got) != "more" {
			t.Errorf("read %q below", got)
		}
	})
}

func TestHandshakeWithAnEndedContextChangesNothing(t *testing.T) {
	a, _ := tcpPair(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	client := Client(a, &ClientConfig{Key: vectorKey, Domain: "example.com"})
	if err := client.Handshake(ended); err != context.Canceled {
		t.Errorf("%v, want context.Canceled", err)
	}
	if client.handshakeDone.Load() {
		t.Error("the handshake counts as done")
	}
}

func TestServerReportsAConfigItCannotFollow(t *testing.T) {
	for _, size := range []int{-5, 20_000} {
		err := offer(t, &ServerConfig{Keys: [][16]byte{vectorKey}, Time: vectorClock, Flight: func() Flight { return Flight{DataSize: size} }}, signedHello(t))
		var reject *RejectError
		if err == nil || errors.As(err, &reject) {
			t.Errorf("DataSize %d: %v, want an error that does not blame the client", size, err)
		}
	}
}

func TestClientTellsWhyThereIsNoProxy(t *testing.T) {
	for name, c := range map[string]struct {
		answer []byte
		want   error
	}{
		"hang-up":         {nil, io.ErrUnexpectedEOF},
		"half a flight":   {vectorFlight(t)[:150], io.ErrUnexpectedEOF},
		"alert":           {unhex(t, "15030300020270"), ErrMalformed},
		"another key":     {vectorFlight(t), ErrNoMatch},
		"not even TLS":    {[]byte("HTTP/1.1 400 Bad Request\r\n"), ErrMalformed},
		"tickets outside": {join(record(RecordHandshake, 90), []byte(changeCipherSpec), record(RecordApplicationData, 9)), ErrNoMatch},
	} {
		a, b := tcpPair(t)
		client := Client(a, &ClientConfig{Key: vectorKey, Domain: "example.com"})
		go func() {
			readN(t, b, 512)
			b.Write(c.answer)
			b.CloseWrite()
		}()
		if err := client.Handshake(t.Context()); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestRefusalReadsAsOneSentence(t *testing.T) {
	err := &RejectError{Err: ErrNoMatch, Received: make([]byte, 517)}
	if got, want := err.Error(), "faketls: client refused after 517 bytes: digest matches no key"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
