package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/mtwire/mtwire/interop/probes/site"
	"github.com/mtwire/mtwire/interop/process"
)

// restart compares the answers to a hello that a client used before the proxy was
// restarted, with the same state directory.
func (r *Runner) restart(ctx context.Context, e *environment) (kinds []Kind, details []string, atSite, atProxy Observation) {
	fail := func(err error) ([]Kind, []string, Observation, Observation) {
		atProxy.Error = err.Error()
		return []Kind{KindError}, []string{err.Error()}, atSite, atProxy
	}
	state, err := os.MkdirTemp("", "state-")
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(state)
	start := func() (*process.Server, error) {
		return process.StartServer(ctx, r.Mtwire, "proxy", "--print-links", "--listen", "127.0.0.1:0", "--front", e.site.Address,
			"--dc", "*="+e.dc.Addr().String(), "--domain", site.Domain, "--state", state)
	}
	proxy, err := start()
	if err != nil {
		return fail(err)
	}
	defer func() { proxy.Stop() }()
	secret, err := linkSecret(proxy.Stdout.Text())
	for deadline := time.Now().Add(process.StartTimeout); err != nil && time.Now().Before(deadline) && sleep(ctx, 20*time.Millisecond); {
		secret, err = linkSecret(proxy.Stdout.Text()) // it follows the line with the address
	}
	if err != nil {
		return fail(err)
	}
	recorded, err := recordSession(&Env{Proxy: proxy.Address}, secret)
	if err != nil {
		return fail(err)
	}
	// Stop kills, and a crash may lose the handshakes of the last moment.
	sleep(ctx, time.Second)
	proxy.Stop()
	if proxy, err = start(); err != nil {
		return fail(err)
	}
	p := &Probe{Name: restartName, Steps: steps(Step{Data: recorded.hello()}, Step{Await: true, Fin: true})}
	atSite = Observe(ctx, p, e.site.Address, &Env{}, sequentialLimit)
	atProxy = Observe(ctx, p, proxy.Address, &Env{Proxy: proxy.Address}, sequentialLimit)
	kinds, details = Compare(atSite, atProxy)
	return kinds, details, atSite, atProxy
}

// linkSecret returns the secret of the link that a proxy prints.
func linkSecret(text string) (string, error) {
	_, rest, found := strings.Cut(text, "secret=")
	if !found {
		return "", fmt.Errorf("no link in %q", text)
	}
	end := strings.IndexFunc(rest, func(r rune) bool { return r <= ' ' || r == '&' })
	if end < 0 {
		end = len(rest)
	}
	if end == 0 {
		return "", errors.New("a link without a secret")
	}
	return rest[:end], nil
}
