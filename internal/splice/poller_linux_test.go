package splice

// idleGoroutines returns how many goroutines idle pairs have.
func idleGoroutines(int) int { return 0 }

// directions returns the directions that the poller has.
func (p *Poller) directions() (all []*direction) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.waiters {
		if d, ok := w.(*direction); ok {
			all = append(all, d)
		}
	}
	return all
}
