package probe

import (
	"context"
	"fmt"
	"net"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mtwire/mtwire/interop/probes/site"
	"github.com/mtwire/mtwire/interop/process"
	"github.com/mtwire/mtwire/mtwiretest"
)

// Result is the verdict of a probe, a site and a mode.
type Result struct {
	Site    string      `json:"site"`
	Mode    Mode        `json:"mode"`
	Probe   string      `json:"probe"`
	Kinds   []Kind      `json:"kinds,omitempty"`   // none: nothing tells the proxy from the site
	Unknown []Kind      `json:"unknown,omitempty"` // those of Kinds that are not known
	Reasons []string    `json:"reasons,omitempty"` // of the known ones
	Details []string    `json:"details,omitempty"`
	AtSite  Observation `json:"at_site"`
	AtProxy Observation `json:"at_proxy"`

	used []Known
}

// Runner runs probes.
type Runner struct {
	Mtwire string // binary
	Rustls string // binary of the rustls site, may be ""
	Modes  []Mode
	Probes []Probe
	Checks []Check
	Known  []Known
	// Attempts is how often a probe is made that differs in a way that is not
	// known, 0 for three times: a difference that is there only once is the load
	// of the machine.
	Attempts int
	// Log gets a line for each thing that takes long.
	Log func(format string, args ...any)
}

const (
	// limit bounds an observation. It is longer than all timeouts of the sites
	// and of the proxy together: 18 and 15 seconds.
	limit = 36 * time.Second
	// sequentialLimit is the same for a site that serves one connection at a
	// time and has no timeouts.
	sequentialLimit = 6 * time.Second
	// interval is the time from one probe to the next.
	interval = 40 * time.Millisecond
	// probesPerProxy limits the connections that a proxy has at one time: from
	// the 65th that the site has not answered on, it checks the site first.
	probesPerProxy = 48
	// lanes is the number of sequential sites that run at one time.
	lanes = 12
	// measureTimeout bounds the time until a proxy has measured its site.
	measureTimeout = 15 * time.Second
)

func (r *Runner) attempts() int {
	if r.Attempts > 0 {
		return r.Attempts
	}
	return 3
}

// Run runs all probes against a kind of site.
func (r *Runner) Run(ctx context.Context, kind site.Kind) (results []Result, err error) {
	if kind.Sequential {
		return r.runSequential(ctx, kind)
	}
	e, err := r.start(ctx, kind, (len(r.Probes)+probesPerProxy-1)/probesPerProxy)
	if err != nil {
		return nil, err
	}
	defer e.stop()
	e.awaitMeasured(ctx, r)
	results = make([]Result, len(r.Probes)*len(r.Modes))
	all := make([]int, len(results))
	for i := range all {
		all[i] = i
	}
	tried := make(map[int]*attempt)
	for range r.attempts() {
		if len(all) == 0 {
			break
		}
		r.Log("%s: %d comparisons", kind.Name, len(all))
		r.round(ctx, e, all, tried)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		for i, a := range tried {
			results[i] = r.judge(kind, a)
		}
		all = slices.DeleteFunc(all, func(i int) bool { return len(results[i].Unknown) == 0 })
	}
	return append(results, r.runChecks(ctx, e)...), ctx.Err()
}

// runChecks makes the checks that are selected and no single connection.
func (r *Runner) runChecks(ctx context.Context, e *environment) (results []Result) {
	for _, check := range r.Checks {
		for range r.attempts() {
			result := check.run(ctx, r, e, r.Modes[0])
			result.Site, result.Mode, result.Probe = e.site.Name, r.Modes[0], check.Name
			result.Explain(r.Known)
			if len(results) == 0 || results[len(results)-1].Probe != check.Name {
				results = append(results, result)
			} else {
				results[len(results)-1] = result
			}
			if len(result.Unknown) == 0 || ctx.Err() != nil {
				break
			}
		}
	}
	return results
}

// Check is a comparison that is more than one connection.
type Check struct {
	Name string

	run func(ctx context.Context, r *Runner, e *environment, mode Mode) Result
}

// Checks returns all checks.
func Checks() []Check {
	return []Check{
		{crowdName, func(ctx context.Context, r *Runner, e *environment, mode Mode) (result Result) {
			result.Kinds, result.Details, result.AtSite, result.AtProxy = r.crowd(ctx, e, mode)
			return result
		}},
		{restartName, func(ctx context.Context, r *Runner, e *environment, _ Mode) (result Result) {
			result.Kinds, result.Details, result.AtSite, result.AtProxy = r.restart(ctx, e)
			return result
		}},
	}
}

// attempt is what was observed of one comparison so far.
type attempt struct {
	probe       *Probe
	mode        Mode
	site, proxy []Observation
}

// round makes the comparisons once: the index i is of probe i/len(Modes) and mode
// i%len(Modes). The site is observed once for all modes.
func (r *Runner) round(ctx context.Context, e *environment, indexes []int, tried map[int]*attempt) {
	var running sync.WaitGroup
	var mu sync.Mutex
	byProbe := make(map[int][]int)
	for _, i := range indexes {
		p := i / len(r.Modes)
		byProbe[p] = append(byProbe[p], i)
		if tried[i] == nil {
			tried[i] = &attempt{probe: &r.Probes[p], mode: r.Modes[i%len(r.Modes)]}
		}
	}
	for p := range r.Probes {
		wanted := byProbe[p]
		if len(wanted) == 0 || !sleep(ctx, interval) {
			continue
		}
		probe := &r.Probes[p]
		for range max(probe.Repeat, 1) {
			running.Go(func() {
				o := Observe(ctx, probe, e.site.Address, &Env{Mode: r.Modes[0]}, limit)
				mu.Lock()
				defer mu.Unlock()
				for _, i := range wanted {
					tried[i].site = append(tried[i].site, o)
				}
			})
			for _, i := range wanted {
				running.Go(func() {
					mode := r.Modes[i%len(r.Modes)]
					address := e.proxies[mode][p%len(e.proxies[mode])].Address
					o := Observe(ctx, probe, address, &Env{Proxy: address, Mode: mode}, limit)
					mu.Lock()
					defer mu.Unlock()
					tried[i].proxy = append(tried[i].proxy, o)
				})
			}
		}
	}
	running.Wait()
}

// judge compares what was observed. A probe that is repeated differs if one answer
// of the proxy is none of the site's; another one does if all of them differ.
func (r *Runner) judge(kind site.Kind, a *attempt) Result {
	result := Result{Site: kind.Name, Mode: a.mode, Probe: a.probe.Name}
	for i, proxy := range a.proxy {
		kinds, details, closest := Closest(a.site, proxy)
		worse := len(kinds) > len(result.Kinds)
		if a.probe.Repeat <= 1 {
			worse = len(kinds) < len(result.Kinds)
		}
		if i == 0 || worse {
			result.Kinds, result.Details, result.AtSite, result.AtProxy = kinds, details, closest, proxy
		}
	}
	result.Explain(r.Known)
	return result
}

// Explain sets what is known of the differences.
func (r *Result) Explain(known []Known) {
	r.Unknown, r.used = explain(known, r.Site, r.Mode, r.Probe, r.Kinds)
	r.Reasons = nil
	for _, k := range r.used {
		r.Reasons = append(r.Reasons, k.Reason)
	}
}

// runSequential runs all probes against sites that serve one connection at a time,
// several sites in parallel.
func (r *Runner) runSequential(ctx context.Context, kind site.Kind) (results []Result, err error) {
	sequential := *r
	r = &sequential
	r.Probes = slices.DeleteFunc(slices.Clone(r.Probes), func(p Probe) bool { return p.Parallel })
	results = make([]Result, len(r.Probes)*len(r.Modes))
	next := make(chan int, len(r.Probes))
	for p := range r.Probes {
		next <- p
	}
	close(next)
	var running sync.WaitGroup
	errs := make([]error, lanes)
	for lane := range lanes {
		running.Go(func() {
			e, err := r.start(ctx, kind, 1)
			if err != nil {
				errs[lane] = err
				return
			}
			defer e.stop()
			e.awaitMeasured(ctx, r)
			for p := range next {
				r.probeInTurn(ctx, e, p, results[p*len(r.Modes):][:len(r.Modes)])
			}
		})
	}
	r.Log("%s: %d comparisons", kind.Name, len(results))
	running.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return results, ctx.Err()
}

// probeInTurn makes a probe against the site and the proxies, one after the other.
// results is for each mode.
func (r *Runner) probeInTurn(ctx context.Context, e *environment, p int, results []Result) {
	probe := &r.Probes[p]
	var site []Observation
	for n := range r.attempts() {
		for m, mode := range r.Modes {
			a := &attempt{probe: probe, mode: mode}
			if n > 0 && len(results[m].Unknown) == 0 || ctx.Err() != nil {
				continue
			}
			for len(site) < (n+1)*max(probe.Repeat, 1) {
				e.awaitFree(ctx)
				site = append(site, Observe(ctx, probe, e.site.Address, &Env{Mode: mode}, sequentialLimit))
			}
			address := e.proxies[mode][0].Address
			for range max(probe.Repeat, 1) {
				e.awaitFree(ctx)
				a.proxy = append(a.proxy, Observe(ctx, probe, address, &Env{Proxy: address, Mode: mode}, sequentialLimit))
			}
			a.site = site
			results[m] = r.judge(e.site.Kind, a)
		}
	}
}

// environment is a site, proxies in front of it, and a data centre.
type environment struct {
	site    *site.Site
	proxies map[Mode][]*process.Server
	dc      *mtwiretest.DataCenter
}

// start starts a site, and n proxies in front of it for each mode.
func (r *Runner) start(ctx context.Context, kind site.Kind, n int) (e *environment, err error) {
	e = &environment{proxies: make(map[Mode][]*process.Server), dc: mtwiretest.NewDataCenter(nil)}
	defer func() {
		if err != nil {
			e.stop()
		}
	}()
	if e.site, err = site.Start(ctx, kind, r.Rustls); err != nil {
		return nil, err
	}
	for _, mode := range r.Modes {
		for range n {
			proxy, err := r.startProxy(ctx, e, mode)
			if err != nil {
				return nil, err
			}
			e.proxies[mode] = append(e.proxies[mode], proxy)
		}
	}
	return e, nil
}

func (r *Runner) startProxy(ctx context.Context, e *environment, mode Mode) (*process.Server, error) {
	return StartProxy(ctx, r.Mtwire, e.site.Address, e.dc.Addr().String(), mode)
}

// StartProxy starts a proxy in front of a site. more are more of its arguments.
func StartProxy(ctx context.Context, mtwire, front, dc string, mode Mode, more ...string) (*process.Server, error) {
	args := []string{"proxy", "--listen", "127.0.0.1:0", "--front", front, "--dc", "*=" + dc, "--verbose"}
	args = append(args, more...)
	for _, secret := range mode.Secrets() {
		args = append(args, "--secret", secret)
	}
	return process.StartServer(ctx, mtwire, args...)
}

func (e *environment) stop() {
	for _, proxies := range e.proxies {
		for _, proxy := range proxies {
			proxy.Stop()
		}
	}
	if e.site != nil {
		e.site.Stop()
	}
	e.dc.Close()
}

// awaitMeasured waits until the proxies have logged that they have measured the
// site.
func (e *environment) awaitMeasured(ctx context.Context, r *Runner) {
	deadline := time.Now().Add(measureTimeout)
	for mode, proxies := range e.proxies {
		for _, proxy := range proxies {
			for !Measured(proxy) {
				if time.Now().After(deadline) {
					r.Log("%s: a proxy (%s) has not measured it after %v", e.site.Name, mode, measureTimeout)
					return
				}
				if !sleep(ctx, 50*time.Millisecond) {
					return
				}
			}
		}
	}
}

// AwaitMeasured waits until a proxy has measured its site, and reports whether it
// has.
func AwaitMeasured(ctx context.Context, proxy *process.Server) bool {
	for deadline := time.Now().Add(measureTimeout); time.Now().Before(deadline) && sleep(ctx, 50*time.Millisecond); {
		if Measured(proxy) {
			return true
		}
	}
	return false
}

// Measured reports whether a proxy has logged that it has measured its site.
func Measured(proxy *process.Server) bool {
	return strings.Contains(proxy.Stderr.Text(), "fronting host measured")
}

// awaitFree waits until a sequential site serves a connection.
func (e *environment) awaitFree(ctx context.Context) {
	hello := newHello("free").bytes()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline) && ctx.Err() == nil; {
		conn, err := net.Dial("tcp", e.site.Address)
		if err != nil {
			sleep(ctx, 50*time.Millisecond)
			continue
		}
		conn.SetDeadline(deadline)
		conn.Write(hello)
		n, _ := conn.Read(make([]byte, 1))
		conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
		if n > 0 {
			return
		}
	}
}

// Select sets the probes and the checks: those whose names match one of the
// patterns, all if there is none.
func (r *Runner) Select(patterns []string) error {
	for _, pattern := range patterns {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("%q: %w", pattern, err)
		}
	}
	if len(patterns) == 0 {
		patterns = []string{"*"}
	}
	unwanted := func(name string) bool { return !Matches(strings.Join(patterns, ","), name) }
	r.Probes = slices.DeleteFunc(All(), func(p Probe) bool { return unwanted(p.Name) })
	r.Checks = slices.DeleteFunc(Checks(), func(c Check) bool { return unwanted(c.Name) })
	if len(r.Probes)+len(r.Checks) == 0 {
		return fmt.Errorf("no probe matches %q", patterns)
	}
	return nil
}
