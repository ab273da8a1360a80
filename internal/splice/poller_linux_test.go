package splice

// idleGoroutines returns how many goroutines idle pairs have.
func idleGoroutines(int) int { return 0 }

// directions returns the directions that the poller has.
func (p *Poller) directions() (all []*direction) {
	p.each(func(w waiter) {
		if d, ok := w.(*direction); ok {
			all = append(all, d)
		}
	})
	return all
}

// waiters returns how many directions and connections wait.
func (p *Poller) waiters() (n int) {
	p.each(func(waiter) { n++ })
	return n
}

func (p *Poller) each(f func(waiter)) {
	for _, s := range p.sets {
		s.mu.Lock()
		for _, w := range s.waiters {
			f(w)
		}
		s.mu.Unlock()
	}
}
