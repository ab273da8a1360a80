//go:build !linux

package splice

func parkedNeed(pairs int) int { return 2 * pairs }

func (l *Poller) directions() []*direction { return nil }
