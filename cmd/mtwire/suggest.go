package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/mtwire/mtwire/internal/service"
	"github.com/mtwire/mtwire/internal/service/config"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// An unknown flag, command or argument is answered with what was probably meant: the
// name that another proxy has for the same thing, or the nearest name.

// flagHint is the answer to a name of another program: a flag of ours, or a sentence
// where there is none.
type flagHint struct{ flag, sentence string }

// foreignFlags has the names that other programs use: MTProxy, mtg, mtprotoproxy,
// telemt, and servers in general. Names with one letter are shorthands.
var foreignFlags = foreignNames(map[flagHint]string{
	{flag: "config"}:              "c conf configuration f file",
	{flag: "listen"}:              "a addr address b bind bind-to http-ports H interface l listen-addr listen-address p port",
	{flag: "secrets"}:             "mtproto-secret S secret-file user users users-file password key token",
	{flag: "domain"}:              "cloak-host D fake-tls faketls sni tls tls-domain",
	{flag: "front"}:               "cloak cloak-port domain-fronting-host domain-fronting-ip domain-fronting-port fallback fronting mask mask-host mask-port mask-unix-sock",
	{flag: "public"}:              "announce external-ip host ip-address nat-info public-host public-ip public-ipv4 public-ipv6 public-port server",
	{flag: "upstream"}:            "proxy socks socks5 socks5-host via x",
	{flag: "ip"}:                  "4 6 ipv4 ipv6 prefer-ip prefer-ipv4 prefer-ipv6",
	{flag: "clock-window"}:        "clock-skew time-skew tolerate-time-skewness",
	{flag: "dial-timeout"}:        "connect-timeout t timeout",
	{flag: "peer-timeout"}:        "idle-timeout",
	{flag: "drain"}:               "grace graceful-timeout shutdown-timeout",
	{flag: "state"}:               "data data-dir data-path dir state-dir",
	{flag: "verbose"}:             "d debug log-level loglevel trace verbosity",
	{flag: "log-json"}:            "json json-log",
	{flag: "qr"}:                  "qrcode qr-code",
	{flag: "print-links"}:         "link links print-link show-link show-links",
	{flag: "max-unauthenticated"}: "C concurrency max-clients max-connections max-special-connections maxconn",
	{flag: "admin"}:               "admin-listen api api-bind api-listen http-stats metrics metrics-listen prometheus stats stats-bind stats-port",
	{flag: "proxy-protocol-from"}: "accept-proxy proxy-protocol proxy-protocol-listener send-proxy",

	{sentence: "there are no ad tags: an ad tag needs middle proxies, which mtwire does not use"}:         "ad-tag adtag P proxy-tag tag",
	{sentence: "leave it out: one process uses all processors, and GOMAXPROCS=N limits them"}:             "cores cpu cpu-threads M slaves threads workers",
	{sentence: "leave it out: mtwire does not use middle proxies"}:                                        "aes-pwd multi-conf proxy-multi proxy-secret",
	{sentence: "metrics have the prefix mtwire_, and Prometheus gets them from --admin"}:                  "stats-prefix statsd",
	{sentence: "leave it out: the process stays in the foreground, for systemd or a container to run it"}: "daemon daemonize detach foreground group u username",
})

func foreignNames(hints map[flagHint]string) map[string]flagHint {
	names := make(map[string]flagHint)
	for hint, list := range hints {
		for name := range strings.FieldsSeq(list) {
			names[name] = hint
		}
	}
	return names
}

// foreignCommands has the names of commands that other programs use, and what they are here:
// a command, or one and a command of it.
var foreignCommands = map[string]string{
	"daemon": "proxy", "listen": "proxy", "mtproto-proxy": "proxy", "run": "proxy", "serve": "proxy", "server": "proxy",
	"simple-run": "proxy", "start": "proxy",
	"datacenter": "dc", "data-centre": "dc", "test-server": "dc",
	"benchmark": "bench", "load": "bench", "measure": "bench", "stress": "bench",
	"check": "demo", "selftest": "demo", "self-test": "demo", "test": "demo",
	"bridge": "relay", "convert": "relay", "forward": "relay", "tunnel": "relay",
	"generate": "secret new", "gen": "secret new", "gen-secret": "secret new", "generate-secret": "secret new", "keygen": "secret new",
	"adduser": "user add", "useradd": "user add", "users": "user list",
	"create": "add", "new": "add", "ls": "list", "info": "show", "edit": "set", "update": "set", "limit": "set", "delete": "remove", "del": "remove", "rm": "remove", "revoke": "remove", "block": "disable", "unblock": "enable", "stats": "usage", "traffic": "usage",
	"access": "link", "links": "link", "qr": "link show", "share": "link", "url": "link",
	"?": "help", "usage": "help", "manual": "man",
}

// maxQuotedName limits the names that an error quotes, in bytes. A longer one may have
// a secret in it, as --secretee0123 has, which lacks a space.
const maxQuotedName = 28

// suggestFlag adds what was probably meant to an error about a flag that cmd does not
// have.
func suggestFlag(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return err
	}
	if args := cmd.Flags().Args(); len(args) > 0 && cmd.HasSubCommands() {
		return unknownCommand(cmd, args[0]) // the flag is that command's
	}
	name, short := unknown.GetSpecifiedName(), unknown.GetSpecifiedShortnames()
	all := fmt.Sprintf("%s --help lists the flags", cmd.CommandPath())
	if short == "" {
		quoted := "--" + name
		if len(name) > maxQuotedName {
			quoted = "a long one"
		}
		return fmt.Errorf("unknown flag: %s: %s", quoted, cmp.Or(hintFlag(cmd, name), all))
	}
	// "-listen" is parsed as -l, -i and so on. What follows the first letter may also
	// be its value.
	if word, _, _ := strings.Cut(short, "="); len(word) > 1 && len(word) <= maxQuotedName {
		if hint := hintFlag(cmd, word); hint != "" {
			return fmt.Errorf("unknown flag: -%s: %s", word, hint)
		}
	}
	return fmt.Errorf("unknown flag: -%.1s: %s", name, cmp.Or(hintForeign(cmd, name), hintOther(cmd, name), all))
}

// hintFlag returns what a name of a flag was probably meant to be, or "".
func hintFlag(cmd *cobra.Command, name string) string {
	name = strings.ToLower(strings.ReplaceAll(name, "_", "-"))
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	if slices.Contains(names, name) {
		return fmt.Sprintf("did you mean --%s?", name)
	}
	if hint := hintForeign(cmd, name); hint != "" {
		return hint
	}
	if near := config.Nearest(name, names); near != "" {
		return fmt.Sprintf("did you mean --%s?", near)
	}
	return hintOther(cmd, name)
}

// hintOther tells which other command has a flag, one of cmd's own first, or returns "".
func hintOther(cmd *cobra.Command, name string) string {
	others := allCommands(cmd.Root())
	if proxy, _, err := cmd.Root().Find([]string{"proxy"}); err == nil {
		others = slices.Insert(others, 0, proxy) // where most flags belong
	}
	others = slices.Insert(others, 0, cmd.Commands()...)
	for _, other := range others {
		flag := other.Flags().Lookup(name)
		if len(name) == 1 {
			flag = other.Flags().ShorthandLookup(name)
		}
		if flag != nil && !other.Hidden && other != cmd {
			return fmt.Sprintf("that is --%s of %s", flag.Name, other.CommandPath())
		}
	}
	return ""
}

// hintForeign returns the answer to a name of another program, or "". A hint names
// only flags that cmd has.
func hintForeign(cmd *cobra.Command, name string) string {
	hint, known := foreignFlags[name]
	switch {
	case !known:
		return ""
	case hint.flag == "" && cmd.Name() == "proxy":
		return hint.sentence
	case cmd.Flags().Lookup(hint.flag) != nil:
		return fmt.Sprintf("did you mean --%s?", hint.flag)
	}
	return ""
}

// noArguments is cobra.NoArgs with an error that helps.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if cmd.HasSubCommands() {
		return unknownCommand(cmd, args[0])
	}
	// The argument may be a secret, and is not quoted.
	return fmt.Errorf("%s takes flags and no argument: %s", cmd.Name(), hintArgument(cmd, args[0]))
}

// oneArgument returns a check for exactly one argument, which is called name.
func oneArgument(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return fmt.Errorf("%s needs an argument: %s", cmd.Name(), strings.TrimSuffix(cmd.UseLine(), " [flags]"))
		}
		return atMostOneArgument(name)(cmd, args)
	}
}

// atMostOneArgument is oneArgument for an argument that can be left out.
func atMostOneArgument(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return fmt.Errorf("%s takes one %s, and %d arguments are given: quote one that has spaces or &", cmd.Name(), name, len(args))
		}
		return nil
	}
}

// hintArgument returns what an argument was probably meant to be.
func hintArgument(cmd *cobra.Command, argument string) string {
	has := func(flag string) bool { return cmd.Flags().Lookup(flag) != nil }
	var address service.ListenAddress
	notAddress := address.UnmarshalText([]byte(argument))
	_, notPort := strconv.ParseUint(argument, 10, 16)
	_, notSecret := config.ParseSecret(argument) // also of a link
	switch extension := filepath.Ext(argument); {
	case notPort == nil && has("listen"):
		return fmt.Sprintf("did you mean --listen :%s?", argument)
	case notSecret == nil && has("secrets"):
		return "did you mean --secret, or better --secrets FILE?"
	case notSecret == nil && has("secret"):
		return "did you mean --secret?"
	case notAddress == nil && has("listen"):
		return fmt.Sprintf("did you mean --listen %s?", argument)
	case (slices.Contains([]string{".toml", ".conf", ".cfg", ".py", ".json", ".yaml", ".yml", ".ini"}, extension) || isFile(argument)) && has("secrets"):
		return fmt.Sprintf("did you mean --config %s? mtwire config import reads the files of other proxies", argument)
	case argument == "true" || argument == "false":
		return fmt.Sprintf("the value of a flag that can be left out has = in front, as in --fast-mode=%s", argument)
	}
	return fmt.Sprintf("%s --help lists the flags", cmd.CommandPath())
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// unknownCommand returns the error for a name that is no command of parent.
func unknownCommand(parent *cobra.Command, name string) error {
	var names []string
	for _, sub := range parent.Commands() {
		if !sub.Hidden {
			names = append(names, sub.Name())
		}
	}
	suggested := foreignCommands[strings.ToLower(name)]
	if first, _, _ := strings.Cut(suggested, " "); !slices.Contains(names, first) {
		suggested = config.Nearest(strings.ToLower(name), names)
	}
	hint := fmt.Sprintf("%s --help lists the commands", parent.CommandPath())
	if suggested != "" {
		hint = fmt.Sprintf("did you mean %s %s?", parent.CommandPath(), suggested)
	}
	return fmt.Errorf("unknown command %q for %q: %s", name, parent.CommandPath(), hint)
}
