//go:build !unix

package keysearch

import "time"

// processorTime returns 0, since it is not known.
func processorTime() time.Duration { return 0 }
