package httpconn

// Access is the access that a Server allows to a path.
type Access uint8

const (
	// Refused paths have the response 404.
	Refused Access = iota
	// Direct paths are served without CORS headers.
	Direct
	// CrossOrigin paths are served to pages of any origin: responses have CORS
	// headers, and OPTIONS is allowed.
	CrossOrigin
)

// OfficialPath is the default CheckPath. It accepts the paths of the specification
// and of Telegram's web clients. The letter w requests CORS headers. The position
// of the 1 differs among clients.
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
