package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mtwire/mtwire/interop/probes/probe"
	"github.com/mtwire/mtwire/interop/process"
)

// probesName is the name of the probes in the table and for --only.
const probesName = "probes"

// probes is what to compare with the proxy, by the program in interop/probes. The
// zero value is nothing.
type probes struct {
	Binary, Rustls string
	Known          string            // file with known differences
	Sites          []string          // to probe
	Versions       map[string]string // of the sites
	Full           bool              // with attacks
}

var (
	// usualSites are probed in every run, and fullSites with --probes.
	usualSites = []string{"nginx"}
	fullSites  = []string{"nginx", "apache2", "caddy", "haproxy", "go", "openssl", "rustls", "nginx-p384"}
)

// wantsProbes reports whether the flags ask for the probes.
func (o options) wantsProbes() bool {
	return o.probes || len(o.only) == 0 || slices.Contains(o.only, probesName)
}

// installProbes builds the probes and installs the sites. rows has a row for each
// site that cannot be installed.
func installProbes(ctx context.Context, o options) (p probes, rows []row, err error) {
	source := filepath.Join(o.interop, "probes")
	p = probes{
		Binary: filepath.Join(o.cache, "bin", "probes"), Known: filepath.Join(source, "known.txt"),
		Sites: usualSites, Versions: make(map[string]string), Full: o.probes,
	}
	if o.probes {
		p.Sites = slices.Clone(fullSites)
	}
	if err := build(ctx, o.interop, p.Binary, "./probes"); err != nil {
		return p, nil, err
	}
	missing := func(site string, err error) {
		fmt.Fprintf(os.Stderr, "%s: site %s cannot be installed: %v\n", probesName, site, err)
		p.Sites = slices.DeleteFunc(p.Sites, func(s string) bool { return s == site || s == site+"-p384" })
		rows = append(rows, row{Client: probesName, Case: site, Transport: site, Result: notInstalled, Reason: err.Error()})
	}
	for _, site := range slices.Clone(p.Sites) {
		switch site {
		case "go":
		case "rustls":
			if p.Rustls, err = buildRustls(ctx, source, o.cache); err != nil {
				missing(site, err)
			}
		case "nginx-p384":
			p.Versions[site] = p.Versions["nginx"]
		default:
			if p.Versions[site], err = installSite(ctx, source, site); err != nil {
				missing(site, err)
			}
		}
	}
	return p, rows, nil
}

// installSite installs a site's package, and returns its version.
func installSite(ctx context.Context, source, site string) (version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, installTimeout)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := process.Command(ctx, filepath.Join(source, "install"), site)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := process.Run(cmd); err != nil {
		return "", fmt.Errorf("%s (%w)", lastLine(&stderr), err)
	}
	_, version, _ = strings.Cut(lastLine(&stdout), " ")
	return version, nil
}

// buildRustls builds the rustls site, which needs cargo.
func buildRustls(ctx context.Context, source, cache string) (binary string, err error) {
	if _, err := exec.LookPath("cargo"); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, installTimeout)
	defer cancel()
	target := filepath.Join(cache, "rustls")
	cmd := process.Command(ctx, "cargo", "build", "--quiet", "--release", "--locked")
	cmd.Dir = filepath.Join(source, "rustls")
	cmd.Env = append(os.Environ(), "CARGO_TARGET_DIR="+target)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := process.Run(cmd); err != nil {
		return "", fmt.Errorf("%s (%w)", lastLine(&stderr), err)
	}
	return filepath.Join(target, "release", "rustls-site"), nil
}

// probesTimeout bounds a command of the probes.
const probesTimeout = 40 * time.Minute

// runProbes runs the commands of the probes, inside of the namespace.
func (p *plan) runProbes(ctx context.Context) (rows []row) {
	if len(p.Probes.Sites) == 0 {
		return nil
	}
	var mu sync.Mutex
	var running sync.WaitGroup
	run := func(name, command string, args ...string) {
		found := p.runProbesCommand(ctx, name, command, args...)
		mu.Lock()
		defer mu.Unlock()
		rows = append(rows, found...)
	}
	// Both wait for most of their time.
	running.Go(func() { run("active", "active", "-sites", strings.Join(p.Probes.Sites, ",")) })
	running.Go(func() { run("shapes", "shapes", "-sites", strings.Join(p.Probes.Sites, ",")) })
	running.Wait()
	if p.Probes.Full {
		run("attack", "attack")
		run("attack-many-secrets", "attack", "-only", "hellos-of-16k", "-secrets", "10000")
	}
	return rows
}

// runProbesCommand runs one command, and returns a row for each site and mode. The
// command's tables are kept under the name.
func (p *plan) runProbesCommand(ctx context.Context, name, command string, args ...string) []row {
	start := time.Now()
	fail := func(err error) []row {
		return []row{{Client: probesName, Case: name, Transport: name, Result: failed, Reason: err.Error()}}
	}
	keep := filepath.Join(p.Keep, probesName)
	if err := os.MkdirAll(keep, 0o755); err != nil {
		return fail(err)
	}
	table, results := filepath.Join(keep, name+".txt"), filepath.Join(keep, name+".json")
	os.Remove(results) // of an earlier run
	args = append([]string{command, "-mtwire", p.Mtwire, "-known", p.Probes.Known, "-rustls", p.Probes.Rustls, "-json", results}, args...)
	ctx, cancel := context.WithTimeout(ctx, probesTimeout)
	defer cancel()
	cmd := process.Command(ctx, p.Probes.Binary, args...)
	var out process.Output
	cmd.Stdout, cmd.Stderr = &out, &out
	err := process.Run(cmd)
	if failed := os.WriteFile(table, []byte(out.Text()+"\n"), 0o644); failed != nil {
		return fail(failed)
	}
	text, missing := os.ReadFile(results)
	if missing != nil {
		text := out.Text()
		return fail(fmt.Errorf("%s (%w)", text[strings.LastIndexByte(text, '\n')+1:], cmp.Or(err, missing)))
	}
	var all []probe.Result
	if err := json.Unmarshal(text, &all); err != nil {
		return fail(err)
	}
	rows := probeRows(name, all, p.Probes.Versions)
	for i := range rows {
		rows[i].Seconds = time.Since(start).Seconds()
		fmt.Fprintf(os.Stderr, "%-14s %-40s %s, %.1f s\n", probesName, rows[i].Case, rows[i].Result, rows[i].Seconds)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "--- %s %s: %v\n%s\n---\n", probesName, name, err, out.Text())
	}
	return rows
}

// maxNamed is the number of differences that a row names.
const maxNamed = 5

// probeRows returns a row for each site and mode. It fails if there is a difference
// that is not known.
func probeRows(name string, all []probe.Result, versions map[string]string) (rows []row) {
	type key struct {
		site string
		mode probe.Mode
	}
	results := make(map[key][]probe.Result)
	var order []key
	for _, r := range all {
		k := key{r.Site, r.Mode}
		if results[k] == nil {
			order = append(order, k)
		}
		results[k] = append(results[k], r)
	}
	for _, k := range order {
		text := fmt.Sprintf("%s, %s, %s", name, k.site, k.mode)
		r := row{Client: probesName, Version: versions[k.site], Case: text, Transport: text, Result: passed, Note: probe.Count(results[k]).String()}
		var unknown []string
		for _, result := range results[k] {
			if len(result.Unknown) > 0 {
				unknown = append(unknown, result.Probe)
			}
		}
		if len(unknown) > 0 {
			r.Result = failed
			r.Reason = fmt.Sprintf("%s: %s", r.Note, strings.Join(unknown[:min(maxNamed, len(unknown))], ", "))
		}
		rows = append(rows, r)
	}
	return rows
}
