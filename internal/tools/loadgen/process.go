package loadgen

import (
	"math"
	"time"
)

// processes are the process IDs of a proxy, most often one. Without any, CPU time
// and memory are not measured.
type processes []int

// time returns the sum of the CPU time that the processes have used.
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

// memory returns the sum of the resident memory of the processes, in bytes. Shared
// pages count for each process.
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

// descriptorLimit returns the sum of the numbers of file descriptors that the
// processes may have, or math.MaxInt if it is not known.
func (p processes) descriptorLimit() int {
	sum := 0
	for _, pid := range p {
		limit, known := processDescriptorLimit(pid)
		if !known || limit > math.MaxInt-sum {
			return math.MaxInt
		}
		sum += limit
	}
	if len(p) == 0 {
		return math.MaxInt
	}
	return sum
}
