package splice

// parkedNeed is how many goroutines idle pairs need.
func parkedNeed(int) int { return 0 }

// directions are those that the poller knows.
func (l *Poller) directions() (all []*direction) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.waiters {
		all = append(all, d)
	}
	return all
}
