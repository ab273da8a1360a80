// Package loadgen is a load generator for MTProxy servers. It measures throughput,
// latency, new connections and idle connections, and the CPU time and memory of
// the proxy's processes.
//
// A DataCenter listens on loopback, the proxy routes to it, and Clients connect
// through the proxy. They exchange messages in the shape of encrypted ones, in a
// framing that the proxy's secret allows, so that any MTProxy implementation can
// be measured. Both ends compare every byte with the byte that was sent. Run
// executes a Plan and returns a Report.
//
// Client and DataCenter can be used without Run, in tests that need a verified
// stream.
package loadgen
