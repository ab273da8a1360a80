//go:build !race

package netx

// raceDetector is explained in race.go.
const raceDetector = false
