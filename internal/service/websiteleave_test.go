package service

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/mtwire/mtwire/internal/service/web"
)

// After another process has taken over, only that one requests certificates.
func TestAProcessThatLeavesRequestsNoCertificate(t *testing.T) {
	requested, ended := make(chan struct{}, 1), make(chan struct{}, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		requested <- struct{}{}
		<-r.Context().Done()
		ended <- struct{}{}
	}))
	defer server.Close()
	site, err := web.NewSite("", discard)
	if err != nil {
		t.Fatal(err)
	}
	w := &website{log: discard}
	if w.acme, err = web.NewACME(web.ACMEConfig{Host: webHost, Directory: server.URL, Path: t.TempDir(), Log: discard}); err != nil {
		t.Fatal(err)
	}
	if w.server, err = web.New(web.Config{Host: webHost, Site: site, Log: discard}); err != nil {
		t.Fatal(err)
	}
	_, stop := w.run(func(_ context.Context, streams net.Listener) error {
		_, err := streams.Accept()
		return err
	})
	defer stop()
	<-requested
	w.leave()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Fatal("the request goes on")
	}
}
