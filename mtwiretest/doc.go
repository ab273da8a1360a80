// Package mtwiretest provides a loopback data centre, self-signed certificates and
// the matrix of MTProto transports, for tests of clients, servers and proxies, as
// net/http/httptest does for HTTP.
//
// NewDataCenter starts a data centre on 127.0.0.1. It answers req_pq and
// req_pq_multi with resPQ, echoes messages that are encrypted under AuthKey,
// requested quick acknowledgements included, and answers everything else with
// transport error 404, as a data centre answers an unknown auth key. AppendReqPQ,
// CheckResPQ, Seal and Open are the client's half of these exchanges. DirectModes
// and ProxiedModes list the ways to connect, as URLs.
//
// AuthKey and the secrets of this package are public: use them for tests only.
package mtwiretest
