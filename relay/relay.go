package relay

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/mtwire/mtwire"
)

// DefaultAnswerTimeout is the AnswerTimeout of a Config that has none.
const DefaultAnswerTimeout = 10 * time.Second

// Config configures New.
type Config struct {
	// To are the servers, the preferred one first. If one cannot be reached, ends a
	// connection before it has answered, or does not answer, the next one gets the
	// packets so far. One that has failed is tried last for a while.
	//
	// An endpoint is asked for the data centre that the client asks for, or for its own
	// DC if the client names none. One without an address and a secret is that data
	// centre: see mtwire.DialDC.
	To []mtwire.Endpoint

	// Dial configures the connections to them. Nil means the zero DialConfig.
	Dial *mtwire.DialConfig

	// AnswerTimeout is how long a server may take for its first packet, if there is
	// another one. 0 means DefaultAnswerTimeout, a negative value no limit.
	AnswerTimeout time.Duration

	// Log gets a record for each connection that has ended, and for each server that
	// fails or recovers. It has no secrets. Nil means no log.
	Log *slog.Logger
}

// Relay passes packets between clients and servers. All methods may be called
// concurrently.
type Relay struct {
	config    Config
	endpoints endpoints

	open, served, failed atomic.Int64
}

// New returns a Relay. The error is that of an endpoint, or that there is none.
func New(config Config) (*Relay, error) {
	if len(config.To) == 0 {
		return nil, errors.New("relay: no endpoint to connect to")
	}
	if config.Dial == nil {
		config.Dial = new(mtwire.DialConfig)
	}
	if config.AnswerTimeout == 0 {
		config.AnswerTimeout = DefaultAnswerTimeout
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	r := &Relay{config: config}
	for _, ep := range config.To {
		if ep.Address == "" && ep.Secret != (mtwire.Secret{}) {
			return nil, errors.New("relay: an endpoint with a secret needs an address")
		}
		r.endpoints.all = append(r.endpoints.all, &endpoint{Endpoint: ep, name: name(ep)})
	}
	return r, nil
}

// name returns an endpoint's name for the log, without its secret.
func name(ep mtwire.Endpoint) string {
	if ep.Address != "" {
		return ep.Redacted()
	}
	if ep.Carrier == mtwire.TCP {
		return "the data centre over tcp"
	}
	return "the data centre over " + ep.Carrier.String()
}

// Stats counts connections.
type Stats struct {
	// Open are the clients that a server is connected for, or being dialled.
	Open int64
	// Served are those that have ended after an answer, Failed those without.
	Served, Failed int64
}

// Stats returns the counts of now.
func (r *Relay) Stats() Stats {
	return Stats{r.open.Load(), r.served.Load(), r.failed.Load()}
}

// Handle passes packets between a client and a server until either ends its connection,
// or ctx ends. It is a handler for mtwire's Listener.Serve, and closes conn. It waits for
// the client's first packet before it dials, because clients open connections in advance.
//
// Over HTTP a server answers only: a client of another transport gets what the server has
// of its own accord when it sends something.
func (r *Relay) Handle(ctx context.Context, conn *mtwire.Conn) {
	defer conn.Close()
	first, err := conn.Receive(ctx)
	if err != nil {
		return
	}
	r.open.Add(1)
	defer r.open.Add(-1)
	s := &session{relay: r, client: conn, transport: conn.Transport(), start: time.Now()}
	err = s.run(ctx, first)
	if s.answered {
		r.served.Add(1)
	} else {
		r.failed.Add(1)
	}
	s.log(err)
}
