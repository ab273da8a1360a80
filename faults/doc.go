// Package faults tests the MTProxy server by fault injection: data centres that
// refuse, reset or stop responding, clients that half-close, reset, trickle or
// send nothing, networks that lose, delay and cut, descriptors that run out,
// clocks that step, and signals under load.
//
// It has tests only. They compare the data that moves byte by byte. At their end
// they check for leaks of goroutines, descriptors, pipes and memory.
//
// There are two ways to degrade a network. A middlebox between sockets delays,
// stalls, freezes and resets streams, on every system. As root on Linux, a hop
// between network namespaces loses and delays packets; elsewhere the tests
// report that this variant did not run.
//
// TestSoakOfHostileConnections mixes 26 kinds of hostile clients, floods, failing
// hosts and failing data centres at random. It takes seconds by default, and any
// time on request:
//
//	go test -race ./faults -run Soak -soak 10m -timeout 20m -v
package faults
