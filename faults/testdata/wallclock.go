package service

import (
	"os"
	"strings"
	"time"
)

// clockFile has the time that the clock shows in place of the system's, as a duration to
// add. faults puts this file in place of the one of that name in the program under test.
var clockFile = os.Getenv("FAULTS_CLOCK")

func wallClock() time.Time {
	text, err := os.ReadFile(clockFile)
	if err != nil {
		return time.Now()
	}
	shift, err := time.ParseDuration(strings.TrimSpace(string(text)))
	if err != nil {
		panic(err)
	}
	return time.Now().Add(shift)
}
