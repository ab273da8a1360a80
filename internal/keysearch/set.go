package keysearch

import (
	"cmp"
	"slices"
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
//
// It is compact, for there may be a hundred thousand entries: what they have is in slices
// without pointers, and sets that have all entries are one.
type Index struct {
	modes   []mtproxy.Modes // of entries, by index
	domains []string        // likewise; nil if no entry has one
	ids     []uint32        // likewise
	byID    []uint32        // indexes of entries, in the order of their ids

	all            set            // entries
	withoutFakeTLS set            // entries usable without FakeTLS
	fakeTLS        set            // entries usable with FakeTLS
	anySNI         set            // those of fakeTLS without a domain
	bySNI          map[string]set // those of fakeTLS with a domain, by it in lower case, followed by anySNI
}

// set is a subset of an Index's entries.
type set struct {
	keys    *mtproxy.KeySet
	indexes []uint32 // of entries, one for each key
}

// newIndex makes an Index of entries, which have the given ids.
func newIndex(entries []Entry, ids []uint32) *Index {
	i := &Index{modes: make([]mtproxy.Modes, len(entries)), ids: ids, byID: make([]uint32, len(entries))}
	var withoutFakeTLS, fakeTLS, anySNI []uint32
	bySNI := make(map[string][]uint32)
	for k, entry := range entries {
		index := uint32(k)
		i.modes[k], i.byID[k] = entry.Modes, index
		if entry.Secret.Domain != "" {
			if i.domains == nil {
				i.domains = make([]string, len(entries))
			}
			i.domains[k] = entry.Secret.Domain
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
	slices.SortFunc(i.byID, func(a, b uint32) int { return cmp.Or(cmp.Compare(ids[a], ids[b]), cmp.Compare(a, b)) })
	i.all = set{mtproxy.NewKeySet(secretsOf(entries)...), slices.Sorted(slices.Values(i.byID))}
	i.withoutFakeTLS, i.fakeTLS, i.anySNI = i.subset(withoutFakeTLS), i.subset(fakeTLS), i.subset(anySNI)
	i.bySNI = make(map[string]set, len(bySNI))
	for domain, indexes := range bySNI {
		i.bySNI[domain] = i.subset(append(indexes, anySNI...))
	}
	return i
}

func secretsOf(entries []Entry) []mtproxy.Secret {
	secrets := make([]mtproxy.Secret, len(entries))
	for k := range entries {
		secrets[k] = entries[k].Secret
	}
	return secrets
}

// subset returns the set of these entries.
func (i *Index) subset(indexes []uint32) set {
	if slices.Equal(indexes, i.all.indexes) {
		return i.all
	}
	secrets := make([]mtproxy.Secret, len(indexes))
	for k, index := range indexes {
		secrets[k].Key = i.all.keys.Keys()[index]
	}
	return set{mtproxy.NewKeySet(secrets...), slices.Clip(indexes)}
}

// domain returns the domain of the entry at index, "" for none.
func (i *Index) domain(index int) string {
	if i.domains == nil {
		return ""
	}
	return i.domains[index]
}

// ofID returns the index of the first entry with an id.
func (i *Index) ofID(id uint32) (index int, ok bool) {
	at, ok := slices.BinarySearchFunc(i.byID, id, func(index, id uint32) int { return cmp.Compare(i.ids[index], id) })
	if !ok {
		return 0, false
	}
	return int(i.byID[at]), true
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
	if len(ids) == 1 { // as most addresses have
		index, ok := i.ofID(ids[0])
		if !ok || !i.isCandidate(index, q) {
			return set{}
		}
		return i.all.slice(index, index+1)
	}
	indexes := make([]uint32, 0, len(ids))
	for _, id := range ids {
		if index, ok := i.ofID(id); ok && i.isCandidate(index, q) {
			indexes = append(indexes, uint32(index))
		}
	}
	return i.subset(indexes)
}

// isCandidate reports whether candidates(q) has the entry at index.
func (i *Index) isCandidate(index int, q Query) bool {
	modes, domain := i.modes[index], i.domain(index)
	if !q.FakeTLS {
		return modes&(mtproxy.Classic|mtproxy.DD) != 0
	}
	return modes&mtproxy.EE != 0 && (domain == "" || q.ServerName == "" || strings.EqualFold(domain, q.ServerName))
}

// try returns the index of the entry whose key is the one that try selects, -1 if it
// selects none that q does not refuse. It does not call try for an empty set.
func (s set) try(q Query, try func(*mtproxy.KeySet) int) int {
	for s.len() > 0 {
		k := try(s.keys)
		if k < 0 {
			return -1
		}
		if entry := int(s.indexes[k]); q.Refused == nil || !q.Refused(entry) {
			return entry
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
