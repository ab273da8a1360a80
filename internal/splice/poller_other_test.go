//go:build !linux

package splice

func idleGoroutines(pairs int) int { return 2 * pairs }

func (p *Poller) directions() []*direction { return nil }
