package vectors_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mtwire/mtwire/faketls"
)

var helloErrors = map[string]error{
	"incomplete":  faketls.ErrIncomplete,
	"malformed":   faketls.ErrMalformed,
	"no-match":    faketls.ErrNoMatch,
	"stale-clock": faketls.ErrStaleClock,
	"wrong-sni":   errWrongSNI,
}

// errWrongSNI is the error of a server that compares the server name with its
// secret's domain, which package faketls leaves to it.
var errWrongSNI = errors.New("server name is not the secret's")

// parseInPieces calls parse with the bytes received so far, after each piece, until
// the error is not ErrIncomplete. It returns an error if parse succeeds with fewer
// bytes than it has requested, or requests no more bytes than it has.
func parseInPieces(pieces [][]byte, parse func(b []byte) (n int, err error)) (n int, err error) {
	var b []byte
	need := 0
	for _, piece := range pieces {
		b = append(b, piece...)
		n, err = parse(b)
		if !errors.Is(err, faketls.ErrIncomplete) {
			if len(b) < need && err == nil {
				return 0, fmt.Errorf("success with %d bytes, after a request for %d", len(b), need)
			}
			return n, err
		}
		if n <= len(b) || n < need {
			return 0, fmt.Errorf("request for %d bytes, after one for %d and with %d", n, need, len(b))
		}
		need = n
	}
	return n, err
}

func checkClientHello(r *reader, d depth) error {
	var keys [][16]byte
	for _, key := range r.all("key") {
		b := r.hex("key", key)
		if len(b) != 16 {
			r.fail("key", "%d bytes", len(b))
			return nil
		}
		keys = append(keys, [16]byte(b))
	}
	domain, named := r.optional("domain")
	wire := r.bytes("wire")
	word, negative := r.optional("error")
	if negative && helloErrors[word] == nil {
		r.fail("error", "no error named %q", word)
	}
	clock := time.Unix(r.number("clock"), 0)
	if r.err != nil {
		return nil
	}

	var hello faketls.ClientHello
	var keyIndex int
	var clientTime time.Time
	for pieces := range d.arrivals(wire) {
		n, err := parseInPieces(pieces, func(b []byte) (n int, err error) {
			hello, n, err = faketls.ParseClientHello(b)
			return n, err
		})
		if err == nil {
			keyIndex, clientTime = hello.MatchAny(keys)
			if err = faketls.CheckClock(clientTime, clock, 0); keyIndex < 0 {
				err = faketls.ErrNoMatch
			}
		}
		if err == nil && named && hello.SNI != "" && hello.SNI != domain {
			err = errWrongSNI
		}
		if negative {
			if !errors.Is(err, helloErrors[word]) {
				return fmt.Errorf("%s: %v, want %s", describe(pieces), err, word)
			}
			continue
		}
		if err == nil {
			err = errors.Join(
				same("length", int64(n), r.number("length")),
				same("key-index", int64(keyIndex), r.number("key-index")),
				same("time", clientTime.Unix(), r.number("time")),
				same("sni", hello.SNI, r.text("sni")),
				same("suite", fmt.Sprintf("%04x", hello.CipherSuite), r.text("suite")),
				same("mlkem", hello.MLKEM, r.yes("mlkem")),
				equal("random", hello.Random[:], r.bytes("random")),
				equal("session-id", hello.SessionID[:], r.bytes("session-id")))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", describe(pieces), err)
		}
	}
	if negative || !r.yes("encode") {
		return nil
	}
	unsigned := bytes.Clone(wire)
	clear(unsigned[11:43])
	signed, err := faketls.AppendClientHello(nil, &faketls.ClientConfig{
		Key: keys[keyIndex], Domain: "example.com",
		Time:  func() time.Time { return clientTime },
		Hello: func(string) ([]byte, error) { return unsigned, nil },
	})
	return errors.Join(err, equal("signed", signed, wire))
}

func checkServerFlight(r *reader, d depth) error {
	key, random := [16]byte(r.fixed("key", 16)), [32]byte(r.fixed("random", 32))
	word, negative := r.optional("error")
	if negative && helloErrors[word] == nil {
		r.fail("error", "no error named %q", word)
	}
	for pieces := range d.arrivals(r.bytes("wire")) {
		n, err := parseInPieces(pieces, func(b []byte) (int, error) {
			n, err := faketls.VerifyServerHello(b, key, random)
			var record *faketls.RecordError
			if errors.As(err, &record) {
				err = faketls.ErrMalformed
			}
			return n, err
		})
		switch {
		case negative && !errors.Is(err, helloErrors[word]):
			return fmt.Errorf("%s: %v, want %s", describe(pieces), err, word)
		case !negative && err != nil:
			return fmt.Errorf("%s: %w", describe(pieces), err)
		case !negative && int64(n) != r.number("length"):
			return fmt.Errorf("%s: %d bytes, want %d", describe(pieces), n, r.number("length"))
		}
	}
	return nil
}

func checkRecords(r *reader, d depth) error {
	from := r.side("from")
	wire, want := r.bytes("wire"), r.bytes("stream")
	word, negative := r.optional("error")
	for pieces := range d.arrivals(wire) {
		deframer := faketls.Deframer{From: from}
		var got []byte
		var err error
		for _, piece := range pieces {
			piece = bytes.Clone(piece)
			var n int
			if n, err = deframer.Deframe(piece); n > 0 {
				got = append(got, piece[:n]...)
			}
			if err != nil {
				break
			}
		}
		if err := errors.Join(equal("stream", got, want), sameEnd(recordEnd(err, deframer.Complete()), word)); err != nil {
			return fmt.Errorf("%s: %w", describe(pieces), err)
		}

		near, far := duplexPipe()
		conn := faketls.NewConn(near, 1-from)
		sent := far.send(pieces)
		got, err = io.ReadAll(conn)
		near.Close()
		<-sent
		complete := !errors.Is(err, io.ErrUnexpectedEOF)
		if !complete {
			err = nil
		}
		if err := errors.Join(equal("stream of a connection", got, want), sameEnd(recordEnd(err, complete), word)); err != nil {
			return fmt.Errorf("%s: %w", describe(pieces), err)
		}
	}
	if negative || !r.yes("encode") {
		return nil
	}
	near, far := duplexPipe()
	conn := faketls.NewConn(far, from)
	wrote := make(chan error, 1)
	go func() {
		_, err := conn.Write(want)
		wrote <- errors.Join(err, far.CloseWrite())
	}()
	got, err := io.ReadAll(near)
	return errors.Join(err, <-wrote, equal("written", got, wire))
}

// recordEnd returns the format's word for the end of a stream of records.
func recordEnd(err error, complete bool) string {
	var record *faketls.RecordError
	switch {
	case errors.As(err, &record):
		return "malformed"
	case err != nil:
		return err.Error()
	case !complete:
		return "incomplete"
	}
	return ""
}

func sameEnd(got, want string) error { return same("end", got, want) }
