// Package loadgen puts an MTProxy under load and says what it costs: throughput,
// latency, processor time, memory, idle connections, new connections.
//
// A DataCenter listens on loopback, the proxy routes to it, and Clients reach
// it through the proxy. They exchange messages in the shape of encrypted ones,
// in the framing that the proxy's secret asks for, so any proxy can be in
// between, ours or another's. Every byte that arrives is compared with what was
// sent. Run does all of it and returns a Report.
//
// The client and the data centre stand on their own for tests that need a
// stream which knows when it was damaged.
package loadgen
