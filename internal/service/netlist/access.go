package netlist

import (
	"net/netip"
	"sync/atomic"
)

// Access is an allow list and a block list in force. Its methods may be called
// concurrently. The zero value and nil permit every address.
type Access struct {
	lists               atomic.Pointer[lists]
	added               atomic.Pointer[List] // blocked as well, by SetAdded
	blocked, notAllowed atomic.Int64
}

// lists is what Set sets. It does not change.
type lists struct {
	allow *List // nil: every address
	block *List // nil: no address
}

// Set replaces both lists at once. A nil allow permits every address; an empty one
// permits none.
func (a *Access) Set(allow, block *List) { a.lists.Store(&lists{allow, block}) }

// SetAdded replaces what is blocked beside the block list of Set. Nil is nothing.
func (a *Access) SetAdded(block *List) { a.added.Store(block) }

// Permits reports whether a client may connect: its address is in the allow list, if
// there is one, and neither in the block list nor in what SetAdded has set. It counts those that may not. An address
// that is not known, as that of a client on a Unix socket, is in neither list.
func (a *Access) Permits(addr netip.Addr) bool {
	if a == nil {
		return true
	}
	l := a.lists.Load()
	switch {
	case a.added.Load().Contains(addr):
		a.blocked.Add(1)
		return false
	case l == nil:
		return true
	case l.block.Contains(addr):
		a.blocked.Add(1)
		return false
	case l.allow != nil && !l.allow.Contains(addr):
		a.notAllowed.Add(1)
		return false
	}
	return true
}

// Counts is what an Access has counted, and what it has in force.
type Counts struct {
	Blocked    int64 // clients in the block list
	NotAllowed int64 // clients that are not in the allow list
	Allow      int   // networks of the allow list, -1 if there is none
	Block      int   // networks of the block list
	Added      int   // networks of SetAdded
}

// Counts returns the counts since a was made, and the sizes of the lists in force.
func (a *Access) Counts() Counts {
	c := Counts{Blocked: a.blocked.Load(), NotAllowed: a.notAllowed.Load(), Allow: -1, Added: a.added.Load().Len()}
	if l := a.lists.Load(); l != nil {
		c.Block = l.block.Len()
		if l.allow != nil {
			c.Allow = l.allow.Len()
		}
	}
	return c
}
