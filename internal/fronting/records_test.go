package fronting

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The records of a download are those that servers were seen to send: their largest
// length is the one that has most of the page, and the ramp are the lengths that
// grow up to it. Records that end one of the server's writes are left out.
func TestRampAndMaximumAreOfThePage(t *testing.T) {
	repeat := func(length, n int) []int { return slices.Repeat([]int{length}, n) }
	for name, c := range map[string]struct {
		page []int
		ramp []int
		max  int
	}{
		"nginx":   {slices.Concat(repeat(16401, 32), []int{16321, 19}), nil, 16401},
		"HAProxy": {slices.Concat([]int{15281}, repeat(16337, 6), []int{15583}, repeat(16337, 5), []int{13649}), []int{15281}, 16337},
		"Apache":  {slices.Concat([]int{8209}, repeat(8017, 60), []int{4469, 19}), nil, 8017},
		"Caddy": {slices.Concat([]int{1203, 2389, 555, 4761, 5947, 7133, 8319, 2872, 10691, 11877, 10251, 14249, 15435, 3135}, repeat(16401, 20)),
			[]int{1203, 2389, 3575, 4761, 5947, 7133, 8319, 9505, 10691, 11877, 13063, 14249, 15435}, 16401},
		"a ramp in steps":             {slices.Concat(repeat(1369, 3), repeat(4229, 3), repeat(16401, 9)), []int{1369, 1369, 1369, 4229, 4229, 4229}, 16401},
		"a head on its own":           {slices.Concat([]int{300}, repeat(4113, 9)), []int{300}, 4113},
		"nothing":                     {nil, nil, 16401},
		"a redirect":                  {[]int{340, 19}, nil, 16401},
		"a small page":                {[]int{16401, 900, 19}, nil, 16401},
		"a small page of nginx":       {[]int{16401, 16401, 900, 19}, nil, 16401},
		"a small page of Caddy":       {[]int{1203, 2389, 555, 4761, 700, 19}, []int{1203, 2389, 3575, 4761}, 16401},
		"a small page of Apache":      {[]int{8209, 8017, 900, 19}, nil, 16401},
		"few tiny records":            {repeat(200, 100), nil, 16401},
		"tiny records":                {repeat(200, 1000), nil, 16401},
		"records that are not TLS's":  {repeat(40000, 10), nil, 16401},
		"as many of two lengths":      {[]int{2000, 3000, 2000, 2000, 3000}, []int{2000}, 3000},
		"a ramp without end":          {increasing(3000), nil, 16401},
		"sizes that fall":             {[]int{9000, 8000, 7000, 6000}, nil, 16401},
		"the maximum and then others": {[]int{16401, 16401, 3000, 4000, 5000, 6000, 7000}, nil, 16401},
	} {
		if ramp, maximum := rampOf(c.page); !slices.Equal(ramp, c.ramp) || maximum != c.max {
			t.Errorf("%s: %d, maximum %d", name, ramp, maximum)
		}
	}
}

func increasing(n int) (lengths []int) {
	for i := range n {
		lengths = append(lengths, 1024+i)
	}
	return lengths
}

// FuzzRampOf checks that the ramp grows, is bounded, and stays below the maximum.
func FuzzRampOf(f *testing.F) {
	f.Add("1203 2389 555 4761 16401 16401 16401 19")
	f.Add("16401 16401")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		var page []int
		for _, field := range strings.Fields(text) {
			if length, err := strconv.ParseUint(field, 10, 16); err == nil {
				page = append(page, int(length))
			}
		}
		ramp, maximum := rampOf(page)
		if len(ramp) > maxRamp || len(ramp) > len(page) || !slices.IsSorted(ramp) || maximum < minMaxRecord || maximum > maxRecordBody {
			t.Fatalf("%d, maximum %d", ramp, maximum)
		}
		if len(ramp) > 0 && ramp[len(ramp)-1] > maximum {
			t.Fatalf("%d is above the maximum %d", ramp, maximum)
		}
	})
}

// webSite returns the address of a web server with a front page of that size, and
// with a redirect at /moved.
func webSite(t *testing.T, config *tls.Config, handler http.HandlerFunc, http2 bool) (address string) {
	t.Helper()
	server := &http.Server{Handler: handler, TLSConfig: config, ErrorLog: log.New(io.Discard, "", 0), Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetHTTP2(http2)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.ServeTLS(ln, "", "")
	}()
	t.Cleanup(func() { server.Close(); <-done })
	return ln.Addr().String()
}

// The ramp and the maximum of a real Go server are measured from its front page, and
// HTTP/2's SETTINGS, which it sends without being asked, are its "tickets": the
// tickets themselves are in its first flight. The page is requested by its domain.
func TestRecordsOfAGoServer(t *testing.T) {
	t.Parallel()
	requests := make(chan *http.Request, 10)
	address := webSite(t, &tls.Config{Certificates: []tls.Certificate{rsaCertificate(t, 20)}}, func(w http.ResponseWriter, r *http.Request) {
		requests <- r
		w.Header().Set("Content-Length", "600000")
		w.Write(make([]byte, 600000))
	}, true)
	p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example", Address: address}}})
	if got := p.Records("a.example"); !reflect.DeepEqual(got, Records{Max: DefaultMaxRecord}) {
		t.Errorf("%+v before a measurement", got)
	}
	if _, err := p.round(t.Context(), only(p)); err != nil {
		t.Fatal(err)
	}
	if err := p.download(t.Context(), only(p)); err != nil {
		t.Fatal(err)
	}
	got := p.Records("A.example")
	if got.Max != 16401 || len(got.Ramp) < 10 || got.Ramp[0] != 1203 || got.Ramp[1] != 2389 || len(got.Tickets) != 1 || got.Tickets[0] > 100 {
		t.Errorf("%+v", got)
	}
	if r := <-requests; r.Host != "a.example" || r.URL.Path != "/" || r.ProtoMajor != 1 || len(requests) != 0 {
		t.Errorf("%+v", r)
	}
	if got := p.Records("unknown.example"); got.Max != 16401 || len(got.Ramp) < 10 {
		t.Errorf("unknown domain: %+v", got)
	}
}

// A redirect is not followed, and a host that does not speak HTTP/1.1 or sends
// nothing has the defaults.
func TestRecordsHaveDefaults(t *testing.T) {
	followed := make(chan string, 10)
	moved := webSite(t, &tls.Config{Certificates: []tls.Certificate{rsaCertificate(t, 20)}}, func(w http.ResponseWriter, r *http.Request) {
		followed <- r.URL.Path
		http.Redirect(w, r, "/moved", http.StatusFound)
	}, false)
	p, _ := newPool(t, Config{Hosts: []Host{{Domain: "a.example", Address: moved}}})
	if err := p.download(t.Context(), only(p)); err != nil || p.Records("").Max != DefaultMaxRecord || p.Records("").Ramp != nil {
		t.Errorf("%v, %+v", err, p.Records(""))
	}
	if path := <-followed; path != "/" || len(followed) != 0 {
		t.Errorf("requested %s", path)
	}

	certificates := []tls.Certificate{rsaCertificate(t, 20)}
	for name, config := range map[string]*tls.Config{
		"HTTP/2 only":    {Certificates: certificates, NextProtos: []string{"h2"}},
		"nothing":        {Certificates: certificates},
		"no TLS 1.3":     {Certificates: certificates, MaxVersion: tls.VersionTLS12},
		"no certificate": {},
	} {
		synctest.Test(t, func(t *testing.T) {
			p, _ := inMemory(t, func(conn net.Conn) { serveTLS(conn, config) })
			p.download(t.Context(), only(p))
			if got := p.Records("a.example"); !reflect.DeepEqual(got, Records{Max: DefaultMaxRecord}) {
				t.Errorf("%s: %+v", name, got)
			}
		})
	}
	empty, _ := newPool(t, Config{})
	if got := empty.Records("a.example"); got.Max != DefaultMaxRecord || empty.Patience("a.example") != DefaultPatience {
		t.Errorf("without hosts: %+v", got)
	}
}

// A page without end is read up to maxDownload, and one that pauses up to
// downloadGap.
func TestDownloadIsBounded(t *testing.T) {
	config := &tls.Config{Certificates: []tls.Certificate{rsaCertificate(t, 20)}}
	for name, pause := range map[string]time.Duration{"without end": 0, "that pauses": time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			sent := 0
			ended := make(chan struct{})
			p, _ := inMemory(t, func(conn net.Conn) {
				defer close(ended)
				server := tls.Server(conn, config)
				server.Read(make([]byte, 4096))
				for page := make([]byte, 64<<10); ; time.Sleep(pause) {
					n, err := server.Write(page)
					sent += n
					if err != nil {
						return
					}
				}
			})
			begin := time.Now()
			if err := p.download(t.Context(), only(p)); err != nil {
				t.Error(err)
			}
			took := time.Since(begin)
			<-ended
			if sent > maxDownload+128<<10 || took > flightGap+longGap+downloadGap || pause == 0 && sent < maxDownload-64<<10 {
				t.Errorf("%s: %d bytes in %v", name, sent, took)
			}
			if got := p.Records("a.example").Max; got != 16401 {
				t.Errorf("%s: %d", name, got)
			}
		})
	}
}
