package admin

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
)

// roundTrip is a RoundTripper.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// The error of a proxy that hangs tells that it is the proxy.
func TestAProxyThatDoesNotAnswerIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Client{base: localBase, transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})}
		if _, err := c.Do(t.Context(), http.MethodGet, "/v1/users", nil, ""); err == nil || !strings.Contains(err.Error(), "the proxy has not answered") {
			t.Error(err)
		}
	})
}
