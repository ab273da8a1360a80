// Package faults is where the MTProxy server is tried on a bad day: data
// centres that refuse, reset or fall silent, clients that hang up half-way,
// trickle or never speak, networks that lose, delay and cut, descriptors that
// run out, clocks that step, and signals in the middle of it all.
//
// It has tests only. What moves in them is compared byte by byte, and each ends
// by counting what must be gone: goroutines, descriptors, pipes, memory.
//
// Networks are made worse in two ways. A middlebox between sockets delays,
// stalls, freezes and resets streams, everywhere. Where there is root on Linux,
// network namespaces are joined by a hop that loses and delays packets; where
// there is not, the tests say that this did not run.
package faults
