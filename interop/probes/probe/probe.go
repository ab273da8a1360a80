// Package probe probes a fronting host directly and through a proxy, actively: it
// opens connections as a scanner does that knows no secret, or one that was used
// already, and compares the bytes that come back, when they come, and how the
// connection ends.
//
//	probe.go          Probe, Step, Env
//	list.go           all probes; *probes.go has them by topic
//	clienthello.go    hellos of any shape
//	observe.go        one connection
//	compare.go        site and proxy
//	known.go          differences that are known, with their reasons
//	run.go            all probes of one site
//	crowd.go          many visitors at one time
//	restart.go        a hello that was used before the proxy was restarted
//	report.go         tables
package probe

import (
	"context"
	"net"
	"time"
)

// Probe is what a prober sends.
type Probe struct {
	// Name is unique, topic/detail.
	Name string

	// Steps returns the script. It is called for each connection.
	Steps func(e *Env) ([]Step, error)

	// Converse replaces Steps for a probe that needs answers: it talks on conn,
	// and returns a transcript in which all that varies is masked. After it, the
	// connection is observed until its end.
	Converse func(ctx context.Context, conn net.Conn, e *Env) (transcript string, err error)

	// MergeRecords compares successive encrypted records as if they were one:
	// for dialogues, where the division depends on when the requests arrive, and
	// for what follows a flight that FakeTLS always has in one record.
	MergeRecords bool

	// OnlyTranscript compares the transcript and not the bytes: for HTTP/2, where
	// the division into records and the coded length of a date vary.
	OnlyTranscript bool

	// Parallel means that the probe needs two connections at one time. It is not
	// made against a site that serves one.
	Parallel bool

	// Repeat is how many connections are made, 0 for one. The site itself
	// answers such a probe in several ways, and every answer of the proxy must
	// be among them.
	Repeat int
}

// Step is a part of a script: it sends Data, then ends the sending direction if
// Fin is set, and then waits for Pause.
type Step struct {
	Data  []byte
	Fin   bool
	Pause time.Duration
	// Await waits for the first byte of an answer first, for at most awaitLimit.
	Await bool
}

const awaitLimit = 5 * time.Second

// Mode is which secrets a proxy has.
type Mode string

// The modes. In the bytes of the last two, anything can be a client's first bytes.
const (
	ModeEE     Mode = "ee"
	ModeEEDD   Mode = "ee+dd"
	ModeEEBare Mode = "ee+bare"
)

// Modes returns all modes.
func Modes() []Mode { return []Mode{ModeEE, ModeEEDD, ModeEEBare} }

// Secrets returns the proxy's secrets.
func (m Mode) Secrets() []string {
	secrets := []string{Secret}
	switch m {
	case ModeEEDD:
		secrets = append(secrets, "dd"+otherKey)
	case ModeEEBare:
		secrets = append(secrets, otherKey)
	}
	return secrets
}

// The secrets. Secret is for site.Domain.
const (
	eeKey    = "000102030405060708090a0b0c0d0e0f"
	otherKey = "101112131415161718191a1b1c1d1e1f"
	Secret   = "ee" + eeKey + "6578616d706c652e636f6d"
)

// Env is what a probe's connection is made to.
type Env struct {
	// Proxy is the address of the proxy, "" for the site itself.
	Proxy string
	// Mode is the mode of the proxy, or of the one that the site is compared with.
	Mode Mode
}

// steps returns a script that does not depend on the Env.
func steps(all ...Step) func(*Env) ([]Step, error) {
	return func(*Env) ([]Step, error) { return all, nil }
}

// send returns a script that sends one piece.
func send[T string | []byte](data T) func(*Env) ([]Step, error) {
	return steps(Step{Data: []byte(data)})
}

// sendFin returns a script that sends one piece and ends its direction.
func sendFin[T string | []byte](data T) func(*Env) ([]Step, error) {
	return steps(Step{Data: []byte(data), Fin: true})
}
