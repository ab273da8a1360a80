package splice

// parkedNeed is how many goroutines idle pairs need.
func parkedNeed(int) int { return 0 }

// directions are those that the lot knows.
func (l *Lot) directions() (all []*direction) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.places {
		all = append(all, d)
	}
	return all
}
