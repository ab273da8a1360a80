package loadgen

import "time"

// processes are those that make up a proxy, most often one. None means that
// nothing is to be read.
type processes []int

// time is the processor time that all of them have used.
func (p processes) time() (sum time.Duration, err error) {
	for _, pid := range p {
		t, err := processTime(pid)
		if err != nil {
			return 0, err
		}
		sum += t
	}
	return sum, nil
}

// memory is what all of them have in memory, in bytes. What they share is
// counted for each.
func (p processes) memory() (sum int64, err error) {
	for _, pid := range p {
		n, err := residentMemory(pid)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}
