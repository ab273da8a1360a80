//go:build !linux

package splice

func parkedNeed(pairs int) int { return 2 * pairs }

func (l *Lot) directions() []*direction { return nil }
