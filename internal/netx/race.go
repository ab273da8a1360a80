//go:build race

package netx

// raceDetector is true where the race detector is: it takes what is read from a socket
// for ordered behind what was written to any, as package syscall tells it.
const raceDetector = true
