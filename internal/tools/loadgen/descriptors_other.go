//go:build !unix

package loadgen

import "math"

func descriptorLimit() int { return math.MaxInt }
