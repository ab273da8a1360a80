package netx

import (
	"context"
	"math/rand/v2"
	"net"
	"time"
)

const (
	minUnanswered    = 10 * time.Second
	unansweredSpread = 5 * time.Second
)

// UnansweredTime returns the time for which a server reads from a client that it does
// not answer: from 10 to 15 seconds, drawn at random, so that the limit is no
// fingerprint. Handshakes have the same limit, so that the time of the close does not
// distinguish an incomplete handshake from a rejected one.
func UnansweredTime() time.Duration { return minUnanswered + rand.N(unansweredSpread) }

// Discard reads from conn and drops what it reads, until conn fails or ctx ends.
func Discard(ctx context.Context, conn net.Conn) {
	var sink [512]byte
	Interruptible(ctx, conn.SetReadDeadline, func() error {
		for {
			if _, err := conn.Read(sink[:]); err != nil {
				return err
			}
		}
	})
}

// DiscardUnanswered reads from conn for UnansweredTime, or until conn fails or
// ctx ends.
func DiscardUnanswered(ctx context.Context, conn net.Conn) {
	limited, cancel := context.WithTimeout(ctx, UnansweredTime())
	defer cancel()
	Discard(limited, conn)
}
