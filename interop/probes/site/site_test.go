package site

import (
	"crypto/tls"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The Go site, which needs no package, serves its pages over TLS 1.3 and HTTP/2 with
// a certificate for the domain.
func TestGoSiteServesItsPages(t *testing.T) {
	dir := t.TempDir()
	if err := writePages(filepath.Join(dir, "www")); err != nil {
		t.Fatal(err)
	}
	if err := writeCertificate(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := tls.LoadX509KeyPair(filepath.Join(dir, "both.pem"), filepath.Join(dir, "both.pem")); err != nil {
		t.Error(err)
	}
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	s := &Site{dir: dir, port: port}
	path, err := s.write("address", "127.0.0.1:PORT in DIR")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	address, in, _ := strings.Cut(string(text), " in ")
	if err != nil || in != dir {
		t.Fatalf("%q, %v", text, err)
	}
	go ServeGo(address, dir) // until the test's process ends
	client := &http.Client{Transport: &http.Transport{
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{ServerName: Domain, InsecureSkipVerify: true},
	}, Timeout: time.Minute}
	defer client.CloseIdleConnections()
	for path, size := range map[string]int64{SmallPage: 50, LargePage: LargeSize} {
		var response *http.Response
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if response, err = client.Get("https://" + address + path); err == nil {
				break
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.ContentLength != size || response.ProtoMajor != 2 || response.TLS.Version != tls.VersionTLS13 ||
			response.TLS.PeerCertificates[0].VerifyHostname(Domain) != nil {
			t.Errorf("%s: %d bytes, %s", path, response.ContentLength, response.Proto)
		}
	}
}

func TestSitesAreFoundByName(t *testing.T) {
	for _, name := range Names() {
		if k, err := Find(name); err != nil || k.Name != name || k.start == nil {
			t.Errorf("%s: %+v, %v", name, k, err)
		}
	}
	if _, err := Find("iis"); err == nil {
		t.Error("an unknown site is found")
	}
}
