package service

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/proxy"
)

// The results of all probes are one line: a warning if a data centre answers over no
// upstream.
func TestProbesAreOneLine(t *testing.T) {
	good := func(dc datacenter.DC, via string) proxy.Probe {
		return proxy.Probe{DC: dc, Upstream: via, Address: "192.0.2.1:443", Duration: 35*time.Millisecond + 1}
	}
	bad := func(dc datacenter.DC, via string) proxy.Probe {
		return proxy.Probe{DC: dc, Upstream: via, Duration: time.Second, Err: errors.New("192.0.2.1:443 (" + via + "): refused; 192.0.2.1:80 (" + via + "): refused")}
	}
	for _, test := range []struct {
		probes []proxy.Probe
		want   string
	}{
		{[]proxy.Probe{good(-2, "direct"), good(1, "direct")},
			`level=INFO msg="data centres answer" dc-2="direct 35ms" dc1="direct 35ms"`},
		{[]proxy.Probe{good(1, "direct"), bad(1, "socks5://s:1"), bad(2, "direct"), good(2, "socks5://s:1")},
			`level=INFO msg="data centres answer" dc1="direct 35ms, socks5://s:1 failed: 192.0.2.1:443: refused; 192.0.2.1:80: refused" dc2="direct failed: 192.0.2.1:443: refused; 192.0.2.1:80: refused, socks5://s:1 35ms"`},
		{[]proxy.Probe{good(1, "direct"), bad(2, "direct")},
			`level=WARN msg="some data centres do not answer" dc1="direct 35ms" dc2="direct failed: 192.0.2.1:443: refused; 192.0.2.1:80: refused"`},
		{[]proxy.Probe{bad(1, "direct"), bad(2, "direct")},
			`level=WARN msg="no data centre answers: clients cannot be served; check the network and --upstream" dc1="direct failed: `},
	} {
		var log bytes.Buffer
		logProbes(slog.New(slog.NewTextHandler(&log, nil)), test.probes)
		if line := log.String(); !strings.Contains(line, test.want) || strings.Count(line, "\n") != 1 {
			t.Errorf("%s\nwant %s", line, test.want)
		}
	}
}

// At the start every data centre is tried in the background: clients are served
// meanwhile, and the end does not wait.
func TestDataCentersAreTriedAtTheStart(t *testing.T) {
	r := run(t, nil)
	r.connect(t)
	want := regexp.MustCompile(`level=INFO msg="data centres answer" dc1="direct [0-9.]+m?s" dc2="direct \S+" dc3="direct \S+" dc4="direct \S+" dc5="direct \S+"\n`)
	for end := time.Now().Add(20 * time.Second); !want.MatchString(r.log.String()); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(r.log.String())
		}
	}
	r.cancel()
	if err := r.result(t); err != nil {
		t.Error(err)
	}

	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	r = run(t, func(c *Config) {
		c.DialTimeout = time.Hour
		c.DataCenters = []DataCenterAddress{{0, silent.Addr().String()}}
	})
	r.cancel()
	if err := r.result(t); err != nil {
		t.Error(err)
	}
	if strings.Contains(r.log.String(), "data centre") {
		t.Error(r.log.String())
	}
}
