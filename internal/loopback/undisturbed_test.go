package loopback

import (
	"errors"
	"testing"
	"time"
)

// An error counts unless the process was held up, and then another attempt does, if there
// have not been too many.
func TestErrorsOfAProcessThatIsHeldUpDoNotCount(t *testing.T) {
	failed := errors.New("failed")
	for name, c := range map[string]struct {
		limit    time.Duration
		fails    int
		attempts int
		want     error
	}{
		"success":        {0, 0, 1, nil},
		"failure":        {time.Hour, 100, 1, failed},
		"held up":        {0, 2, 3, nil}, // every process is, for no time
		"held up always": {0, 100, 10, failed},
	} {
		attempts := 0
		err := Undisturbed(c.limit, func() error {
			if attempts++; attempts <= c.fails {
				return failed
			}
			return nil
		})
		if err != c.want || attempts != c.attempts {
			t.Errorf("%s: %v after %d attempts", name, err, attempts)
		}
	}
}
