package httpconn

// Access is how a Server treats a path.
type Access uint8

const (
	// Refused paths are answered with 404.
	Refused Access = iota
	// Direct paths are served without CORS headers.
	Direct
	// CrossOrigin paths are served to pages of any origin: with CORS headers,
	// and OPTIONS is answered.
	CrossOrigin
)

// OfficialPath is the default CheckPath. The letter w asks for CORS headers;
// where the 1 goes differs among servers, so both forms are known.
//
//	Direct       /api /api1 /api_test /api_test1
//	CrossOrigin  /apiw /apiw1 /apiw_test /apiw_test1 /apiw1_test
//	             /apiw_premium /apiw1_premium
//
// Specification: https://core.telegram.org/mtproto/transports#uri-format
func OfficialPath(path string) Access {
	switch path {
	case "/api", "/api1", "/api_test", "/api_test1":
		return Direct
	case "/apiw", "/apiw1", "/apiw_test", "/apiw_test1", "/apiw1_test", "/apiw_premium", "/apiw1_premium":
		return CrossOrigin
	}
	return Refused
}
