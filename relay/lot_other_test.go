//go:build !linux

package relay

func parkedNeed(pairs int) int { return 2 * pairs }

func (l *Lot) directions() []*direction { return nil }
