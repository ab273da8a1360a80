package keysearch

import (
	"strings"

	"github.com/mtwire/mtwire/mtproxy"
)

// Query is what is known of a client whose key is searched for.
type Query struct {
	// FakeTLS reports whether the client sent a FakeTLS hello. ServerName is
	// the host in it (SNI), "" if it has none. Otherwise the client sent an
	// init payload.
	FakeTLS    bool
	ServerName string

	// Length is the length of the hello or init payload, in bytes. The time
	// to try a key on a hello is proportional to it.
	Length int

	// Slow, if it is set, is called before a search that may wait for others, or
	// takes long.
	Slow func()

	// Refused, if it is set, is called with the entry whose key fits. If it returns
	// true, the key counts as one that does not fit: the search continues, and takes
	// as long as that for a client without a secret. It is charged to the client's
	// network like that one, but to the bucket of refused searches: see
	// costLimiter.refuse.
	Refused func(entry int) bool

	// hasRefused is set when Refused has returned true. Find makes it.
	hasRefused *bool
}

// Entry is a secret that clients may have, and the modes in which it may be
// used. Modes is a subset of Secret.Modes().
type Entry struct {
	Secret mtproxy.Secret
	Modes  mtproxy.Modes
}

// Index narrows a search down to the entries that a client can have, by
// FakeTLS and SNI. It is immutable and may be used concurrently. Search.NewIndex
// makes it.
type Index struct {
	entries []Entry
	ids     []uint32       // of entries, by index
	byID    map[uint32]int // the index in entries

	withoutFakeTLS set            // entries usable without FakeTLS
	fakeTLS        set            // entries usable with FakeTLS
	anySNI         set            // those of fakeTLS without a domain
	bySNI          map[string]set // those of fakeTLS with a domain, by it in lower case, followed by anySNI
}

// set is a subset of an Index's entries.
type set struct {
	keys    *mtproxy.KeySet
	indexes []int // in Index.entries, one for each key
}

// newIndex makes an Index of entries, which have the given ids.
func newIndex(entries []Entry, ids []uint32) *Index {
	i := &Index{entries: entries, ids: ids, byID: make(map[uint32]int, len(ids))}
	var withoutFakeTLS, fakeTLS, anySNI []int
	bySNI := make(map[string][]int)
	for index, entry := range entries {
		if _, ok := i.byID[ids[index]]; !ok {
			i.byID[ids[index]] = index
		}
		if entry.Modes&(mtproxy.Classic|mtproxy.DD) != 0 {
			withoutFakeTLS = append(withoutFakeTLS, index)
		}
		if entry.Modes&mtproxy.EE == 0 {
			continue
		}
		fakeTLS = append(fakeTLS, index)
		if domain := strings.ToLower(entry.Secret.Domain); domain == "" {
			anySNI = append(anySNI, index)
		} else {
			bySNI[domain] = append(bySNI[domain], index)
		}
	}
	i.withoutFakeTLS, i.fakeTLS, i.anySNI = i.subset(withoutFakeTLS), i.subset(fakeTLS), i.subset(anySNI)
	i.bySNI = make(map[string]set, len(bySNI))
	for domain, indexes := range bySNI {
		i.bySNI[domain] = i.subset(append(indexes, anySNI...))
	}
	return i
}

func (i *Index) subset(indexes []int) set {
	secrets := make([]mtproxy.Secret, len(indexes))
	for k, index := range indexes {
		secrets[k] = i.entries[index].Secret
	}
	return set{mtproxy.NewKeySet(secrets...), indexes}
}

// NeedsFakeTLS reports whether no entry is usable without FakeTLS.
func (i *Index) NeedsFakeTLS() bool { return len(i.withoutFakeTLS.indexes) == 0 }

// candidates returns all entries that a client can have.
func (i *Index) candidates(q Query) set {
	if !q.FakeTLS {
		return i.withoutFakeTLS
	}
	if q.ServerName == "" {
		return i.fakeTLS
	}
	if named, ok := i.bySNI[strings.ToLower(q.ServerName)]; ok {
		return named
	}
	return i.anySNI
}

// remembered returns the candidates among the entries with the given ids, in
// the order of ids. IDs of secrets that are not in i are skipped.
func (i *Index) remembered(ids []uint32, q Query) set {
	indexes := make([]int, 0, len(ids))
	for _, id := range ids {
		if index, ok := i.byID[id]; ok && i.isCandidate(index, q) {
			indexes = append(indexes, index)
		}
	}
	return i.subset(indexes)
}

// isCandidate reports whether candidates(q) has the entry at index.
func (i *Index) isCandidate(index int, q Query) bool {
	entry := &i.entries[index]
	if !q.FakeTLS {
		return entry.Modes&(mtproxy.Classic|mtproxy.DD) != 0
	}
	domain := entry.Secret.Domain
	return entry.Modes&mtproxy.EE != 0 && (domain == "" || q.ServerName == "" || strings.EqualFold(domain, q.ServerName))
}

// try returns the index in Index.entries of the key that try selects, -1 if it
// selects none that q does not refuse. It does not call try for an empty set.
func (s set) try(q Query, try func(*mtproxy.KeySet) int) int {
	for s.len() > 0 {
		k := try(s.keys)
		if k < 0 {
			return -1
		}
		if q.Refused == nil || !q.Refused(s.indexes[k]) {
			return s.indexes[k]
		}
		*q.hasRefused = true
		s = s.from(k + 1)
	}
	return -1
}

// tryCheap is try for a set that is cheap, and otherwise -1.
func (s set) tryCheap(q Query, try func(*mtproxy.KeySet) int) int {
	if !q.isCheap(s) {
		return -1
	}
	return s.try(q, try)
}

func (s set) len() int { return len(s.indexes) }

// first returns the first n keys of s, and from those after them.
func (s set) first(n int) set { return s.slice(0, n) }
func (s set) from(n int) set  { return s.slice(n, s.len()) }

func (s set) slice(start, end int) set {
	if start == 0 && end == s.len() {
		return s
	}
	return set{s.keys.Slice(start, end), s.indexes[start:end]}
}
