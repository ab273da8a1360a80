package loopback

import "time"

// Undisturbed calls f and returns its error. f is a test of what happens within some time: if
// it fails and the process was held up for limit meanwhile, as on a machine that stands still,
// it is called again, ten times at most.
func Undisturbed(limit time.Duration, f func() error) error {
	for range 9 {
		longest := holdUps()
		if err := f(); longest() < limit || err == nil {
			return err
		}
	}
	return f()
}

// holdUps watches how late timers are until longest is called, which returns the most.
func holdUps() (longest func() time.Duration) {
	const step = 5 * time.Millisecond
	stop, most := make(chan struct{}), make(chan time.Duration)
	go func() {
		late := time.Duration(0)
		for last := time.Now(); ; {
			select {
			case <-time.After(step):
			case <-stop:
				most <- max(late, time.Since(last)-step)
				return
			}
			now := time.Now()
			late, last = max(late, now.Sub(last)-step), now
		}
	}()
	return func() time.Duration {
		close(stop)
		return <-most
	}
}
