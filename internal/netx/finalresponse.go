package netx

import (
	"bufio"
	"net/http"
)

// ReadFinalResponse reads the responses to an HTTP request until one is final, or 101, and
// returns that. Others, such as 103, come before it. The caller limits the bytes of all of
// them.
//
// Specification: https://www.rfc-editor.org/rfc/rfc9110#section-15.2
func ReadFinalResponse(r *bufio.Reader, request *http.Request) (*http.Response, error) {
	for {
		response, err := http.ReadResponse(r, request)
		if err != nil || response.StatusCode/100 != 1 || response.StatusCode == http.StatusSwitchingProtocols {
			return response, err
		}
	}
}
