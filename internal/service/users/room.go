package users

import (
	"math"
	"time"
)

// During an upgrade two processes admit clients of a user at the same time: the new one those that
// come, and the old one those whose handshake it has begun. Neither waits for the other, so they
// divide what the limits of connections and addresses leave room for.

// Room is how much of the room that a user's limits leave this process may take. What counts
// already, here and elsewhere, is not part of it: see elsewhere.go.
type Room uint8

const (
	// AllRoom: no other process admits clients.
	AllRoom Room = iota
	// LesserHalf is the old process's, from before the new one accepts connections.
	LesserHalf
	// GreaterHalf is the new process's, until the old one has NoRoom.
	GreaterHalf
	// NoRoom is the old process's when its handshakes are over: the new one has AllRoom. What a
	// user has had here when Shares told of it last may be taken again.
	NoRoom
)

// rooms is a Room, from one SetRoom to the next.
type rooms struct{ Room }

// SetRoom sets how much room this process has.
func (p *Policy) SetRoom(r Room) {
	room := &rooms{r}
	p.room.Store(room)
	if r == LesserHalf { // what ends from now on makes room in the new process
		p.each(func(u *user, now moment) {
			if u.def != nil {
				u.activity.limits(room, &u.def.Limits, now.elapsed)
			}
		})
	}
}

// of returns what a limit is in r, if has of it is taken: see userRoom.
func (r Room) of(limit, has int) int32 {
	half := max(limit-has, 0) / 2
	if r == GreaterHalf {
		half = limit - half
	}
	return int32(min(half, math.MaxInt32))
}

// userRoom is the room of one user. Under user.mu.
type userRoom struct {
	of                     *rooms // for which the rest is
	connections, addresses int32  // of LesserHalf what is left, and of GreaterHalf the limits
	shared                 int32  // sessions, when Shares told of them last
}

// limits returns the limits of connections and of addresses that hold in a room: those that are
// configured, or less. 0 of a limit that is configured admits nothing more.
func (a *activity) limits(r *rooms, l *Limits, now time.Duration) (connections, addresses int) {
	connections, addresses = l.MaxConnections, l.MaxAddresses
	if r.Room == AllRoom || connections == 0 && addresses == 0 {
		return connections, addresses
	}
	room := &a.room
	if room.of != r {
		has, places := a.connections(), a.addresses.count(now)
		room.of = r
		room.connections, room.addresses = r.of(connections, has), r.of(addresses, places)
	}
	switch r.Room {
	case LesserHalf:
		if room.connections == 0 {
			connections = 0
		}
		if room.addresses == 0 {
			addresses = 0
		}
	case GreaterHalf: // what the old process has taken meanwhile is part of it
		connections, addresses = min(connections, int(room.connections)), min(addresses, int(room.addresses))
	case NoRoom:
		if addresses = 0; a.sessions >= int(room.shared) {
			connections = 0
		}
	}
	return connections, addresses
}

// take takes what a client needs from the room: a connection, and an address if that is a new one.
func (a *activity) take(r *rooms, isNewAddress bool) {
	if r.Room != LesserHalf || a.room.of != r {
		return
	}
	a.room.connections = max(a.room.connections-1, 0)
	if isNewAddress {
		a.room.addresses = max(a.room.addresses-1, 0)
	}
}
