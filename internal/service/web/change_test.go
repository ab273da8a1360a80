package web

import (
	"net/http"
	"testing"
)

// A request that is on its way while a change ends the site is answered.
func TestARequestThatTheEndOfTheSiteOvertakes(t *testing.T) {
	s, err := New(Config{Host: "proxy.example.com", Site: newSite(t, ""), Log: discardLog})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	relay := s.current.Load().relay // which the request has got to
	change, err := s.Prepare(Config{})
	if err != nil {
		t.Fatal(err)
	}
	change.Apply()
	for _, body := range []string{"", "body"} {
		if got := answer(relay, "POST", "/", body); got.StatusCode != http.StatusNotFound {
			t.Errorf("status %d", got.StatusCode)
		}
	}
}
