package netlist

import (
	"cmp"
	"net/netip"
	"sync/atomic"
)

// Access is an allow list and a block list in force. Its methods may be called
// concurrently. The zero value and nil permit every address.
type Access struct {
	lists               atomic.Pointer[lists]
	added               atomic.Pointer[lists] // as well, by SetAdded
	blocked, notAllowed atomic.Int64
}

// lists is what Set and SetAdded set. It does not change.
type lists struct {
	allow *List // nil: every address
	block *List // nil: no address
}

// Set replaces both lists at once. A nil allow permits every address; an empty one
// permits none.
func (a *Access) Set(allow, block *List) { a.lists.Store(&lists{allow, block}) }

// SetAdded replaces what is allowed and blocked beside the lists of Set. Nil is nothing, and
// so is an empty list: an allow list that has networks is one, also if that of Set is nil.
func (a *Access) SetAdded(allow, block *List) { a.added.Store(&lists{allow, block}) }

// noLists are neither allowed nor blocked networks.
var noLists lists

func (a *Access) both() (set, added *lists) {
	return cmp.Or(a.lists.Load(), &noLists), cmp.Or(a.added.Load(), &noLists)
}

// Permits reports whether a client may connect: its address is in an allow list, if there is
// one, and in no block list, of Set or of SetAdded. It counts those that may not. An address
// that is not known, as that of a client on a Unix socket, is in no list.
func (a *Access) Permits(addr netip.Addr) bool {
	if a == nil {
		return true
	}
	set, added := a.both()
	switch {
	case added.block.Contains(addr) || set.block.Contains(addr):
		a.blocked.Add(1)
		return false
	case set.allow == nil && added.allow.Len() == 0:
	case !set.allow.Contains(addr) && !added.allow.Contains(addr):
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
	AllowAdded int   // allowed networks of SetAdded
	BlockAdded int   // blocked ones
}

// Counts returns the counts since a was made, and the sizes of the lists in force.
func (a *Access) Counts() Counts {
	set, added := a.both()
	c := Counts{
		Blocked: a.blocked.Load(), NotAllowed: a.notAllowed.Load(),
		Allow: -1, Block: set.block.Len(), AllowAdded: added.allow.Len(), BlockAdded: added.block.Len(),
	}
	if set.allow != nil {
		c.Allow = set.allow.Len()
	}
	return c
}
