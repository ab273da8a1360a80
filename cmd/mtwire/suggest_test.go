package main

import (
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/mtwiretest"
)

// execute returns the error of a command line that is wrong.
func execute(line string) error {
	root := rootCommand()
	root.SetArgs(strings.Fields(line))
	root.SetOut(io.Discard)
	root.SetErr(io.Discard)
	return root.Execute()
}

// What is unknown is answered with what was probably meant, and never quoted where it
// may be a secret.
func TestUnknownNamesGetASuggestion(t *testing.T) {
	const secret = mtwiretest.PaddedSecret
	for line, want := range map[string]string{
		// Names of MTProxy, mtg, mtprotoproxy, telemt, and of servers in general.
		"proxy --bind :443":           "unknown flag: --bind: did you mean --listen?",
		"proxy --bind-to :443":        "unknown flag: --bind-to: did you mean --listen?",
		"proxy -b :443":               "unknown flag: -b: did you mean --listen?",
		"proxy -H 443":                "unknown flag: -H: did you mean --listen?",
		"proxy -c config.toml":        "unknown flag: -c: did you mean --config?",
		"proxy --tls-domain a.b":      "unknown flag: --tls-domain: did you mean --domain?",
		"proxy -D a.b":                "unknown flag: -D: did you mean --domain?",
		"proxy --mask-host a.b":       "unknown flag: --mask-host: did you mean --front?",
		"proxy --cloak-port 443":      "unknown flag: --cloak-port: did you mean --front?",
		"proxy --public-ipv4 1.2.3.4": "unknown flag: --public-ipv4: did you mean --public?",
		"proxy --nat-info 1:2":        "unknown flag: --nat-info: did you mean --public?",
		"proxy --socks5 1.2.3.4:1":    "unknown flag: --socks5: did you mean --upstream?",
		"proxy --prefer-ip ipv6":      "unknown flag: --prefer-ip: did you mean --ip?",
		"proxy -P 00":                 "unknown flag: -P: there are no ad tags: ",
		"proxy -M 4":                  "unknown flag: -M: leave it out: one process uses all processors",
		"proxy --aes-pwd x":           "unknown flag: --aes-pwd: leave it out: ",
		"proxy --http-stats":          "unknown flag: --http-stats: did you mean --admin?",
		"dc --port 1":                 "unknown flag: --port: did you mean --listen?",
		"dc --config a":               "unknown flag: --config: that is --config of mtwire proxy",
		"run":                         `unknown command "run" for "mtwire": did you mean mtwire proxy?`,
		"serve --port 1":              `unknown command "serve" for "mtwire": did you mean mtwire proxy?`,
		"generate-secret example.com": `unknown command "generate-secret" for "mtwire": did you mean mtwire secret new?`,
		"adduser alice":               `unknown command "adduser" for "mtwire": did you mean mtwire user add?`,
		"test":                        `unknown command "test" for "mtwire": did you mean mtwire demo?`,

		// Typing mistakes, and parts of names.
		"proxy --lisen :1":        "unknown flag: --lisen: did you mean --listen?",
		"proxy --usptream x":      "unknown flag: --usptream: did you mean --upstream?",
		"proxy --mode ee":         "unknown flag: --mode: did you mean --modes?",
		"proxy --log_json":        "unknown flag: --log_json: did you mean --log-json?",
		"proxy --Listen :1":       "unknown flag: --Listen: did you mean --listen?",
		"proxy -listen :1":        "unknown flag: -listen: did you mean --listen?",
		"proxy -lisen=:1":         "unknown flag: -lisen: did you mean --listen?",
		"proxy --fast":            "unknown flag: --fast: did you mean --fast-mode?",
		"bench --listen x":        "unknown flag: --listen: did you mean --dc-listen?",
		"proxy --max-unauth 1":    "unknown flag: --max-unauth: did you mean --max-unauthenticated?",
		"proxy --xyzzy":           "unknown flag: --xyzzy: mtwire proxy --help lists the flags",
		"porxy":                   `unknown command "porxy" for "mtwire": did you mean mtwire proxy?`,
		"help bnech":              `unknown command "bnech" for "mtwire": did you mean mtwire bench?`,
		"xyzzy":                   `unknown command "xyzzy" for "mtwire": mtwire --help lists the commands`,
		"-v":                      "unknown flag: -v: that is --verbose of mtwire proxy",
		"proxy --version":         "unknown flag: --version: that is --version of mtwire",
		"demo --domain a.b":       "unknown flag: --domain: that is --domain of mtwire proxy",
		"proxy -S" + secret:       "unknown flag: -S: did you mean --secrets?",
		"proxy -z" + secret:       "unknown flag: -z: mtwire proxy --help lists the flags",
		"proxy --secret" + secret: "unknown flag: a long one: mtwire proxy --help lists the flags",

		// Arguments in place of flags.
		"proxy 8443":              "proxy takes flags and no argument: did you mean --listen :8443?",
		"proxy 0.0.0.0:443":       "proxy takes flags and no argument: did you mean --listen 0.0.0.0:443?",
		"proxy config.py":         "proxy takes flags and no argument: did you mean --config config.py? mtwire config import reads",
		"proxy " + secret:         "proxy takes flags and no argument: did you mean --secret, or better --secrets FILE?",
		"proxy --fast-mode false": "proxy takes flags and no argument: the value of a flag that can be left out has = in front, as in --fast-mode=false",
		"demo fast":               "demo takes flags and no argument: mtwire demo --help lists the flags",
		"bench":                   "bench needs an argument: mtwire bench LINK",
		"bench a b":               "bench takes one link, and 2 arguments are given: quote one that has spaces or &",
	} {
		err := execute(line)
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), mtwiretest.PlainSecret) {
			t.Errorf("%s: %v, want %s", line, err, want)
		}
	}
}

// A suggestion names a flag or a command that there is.
func TestSuggestionsExist(t *testing.T) {
	root := rootCommand()
	proxy, _, err := root.Find([]string{"proxy"})
	if err != nil {
		t.Fatal(err)
	}
	for name, hint := range foreignFlags {
		if proxy.Flags().Lookup(name) != nil {
			continue // it is ours by now
		}
		if got := hintForeign(proxy, name); got == "" {
			t.Errorf("--%s: no hint of %+v", name, hint)
		}
	}
	user, _, err := root.Find([]string{"user"})
	if err != nil {
		t.Fatal(err)
	}
	for name, command := range foreignCommands {
		words := strings.Fields(command)
		_, unknown, err := root.Find(words)
		if err != nil || len(unknown) > 0 {
			_, unknown, err = user.Find(words)
		}
		if (err != nil || len(unknown) > 0) && command != "help" { // cobra adds it later
			t.Errorf("%s: no command %s: %v", name, command, err)
		}
	}
	for _, hint := range foreignFlags {
		for _, flag := range regexp.MustCompile(`--[a-z-]+`).FindAllString(hint.sentence, -1) {
			if proxy.Flags().Lookup(flag[2:]) == nil {
				t.Errorf("%q: no such flag", hint.sentence)
			}
		}
	}
}
