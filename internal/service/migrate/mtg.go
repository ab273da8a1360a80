package migrate

import (
	"net"
	"net/url"
	"strings"

	"github.com/mtwire/mtwire/internal/service/config"
)

// Advice that is the same for several programs.
const (
	adviceMetrics  = "metrics are those of this proxy: see docs/operate.md"
	adviceMeasured = "leave it out: the proxy measures its fronting hosts, and imitates what it sees"
	adviceReplay   = "leave it out: handshakes are remembered for two days, also across restarts"
	adviceResolver = "the system's resolver is used; its answers are kept while it fails"
	adviceAdTag    = "there are no ad tags: they need middle proxies, which this proxy does not use"
	adviceMiddle   = "leave it out: this proxy does not use middle proxies"
	adviceBuffers  = "leave it out: buffers are borrowed while there are bytes"
	adviceHosts    = "limit it with user.max_connections, or max_unauthenticated for clients without a secret"
	adviceTimeout  = "leave it out: the time limits of the fronting host apply until a client is authenticated"
	adviceIdle     = "leave it out: idle sessions cost next to nothing, and peer_timeout ends those of peers that are gone"
	adviceDownload = "lists are files here: download each of them with a timer, and name it in %s"
	adviceThreads  = "leave it out: one process uses all processors"
	adviceNoHost   = "unauthenticated clients always see the site of the domain"
)

// mtgOptions are those of mtg 2.
//
// Source: https://github.com/9seconds/mtg/blob/master/example.config.toml
var mtgOptions = []Option{
	{"secret", "user.secret", "the user is called mtg; with modes = \"ee\", which is all that mtg serves"},
	{"secrets", "user.secret", "of forks with several users: name and secret"},
	{"bind-to", "listen", ""},
	{"concurrency", "user.max_connections", "if there is one user"},
	{"prefer-ip", "ip", ""},
	{"debug", "log_level", "true is \"debug\""},
	{"tolerate-time-skewness", "clock_window", ""},
	{"defense.time.enabled", "clock_window", "false is 0"},
	{"defense.time.allow-skewness", "clock_window", ""},
	{"allow-fallback-on-unknown-dc", "default_dc", "true is 2"},
	{"domain-fronting-port", "front", ""},
	{"domain-fronting-ip", "front", ""},
	{"domain-fronting-host", "front", ""},
	{"domain-fronting-proxy-protocol", "front", "true is ?proxy-protocol=2"},
	{"domain-fronting.port", "front", ""},
	{"domain-fronting.ip", "front", ""},
	{"domain-fronting.host", "front", ""},
	{"domain-fronting.proxy-protocol", "front", "true is ?proxy-protocol=2"},
	{"cloak-port", "front", ""},
	{"proxy-protocol-listener", "proxy_protocol_from", "true is all networks: restrict it to those of the load balancer"},
	{"public-ipv4", "public", ""},
	{"public-ipv6", "public", "if there is no IPv4 address"},
	{"network.public-ip.ipv4", "public", ""},
	{"network.public-ip.ipv6", "public", "if there is no IPv4 address"},
	{"network.proxies", "upstream", "without the parameters of the circuit breaker: upstreams that fail are tried last"},
	{"network.timeout.tcp", "dial_timeout", ""},
	{"network.timeout.idle", "", adviceIdle},
	{"network.timeout.http", "", "leave it out: nothing is asked over HTTP"},
	{"network.timeout.handshake", "", adviceTimeout},
	{"network.keep-alive.disabled", "keep_alive", "true is 0"},
	{"network.keep-alive.idle", "keep_alive", ""},
	{"network.keep-alive.interval", "", "leave it out: peer_timeout is how long a peer may be silent"},
	{"network.keep-alive.count", "", "leave it out: peer_timeout is how long a peer may be silent"},
	{"network.doh-ip", "", adviceResolver},
	{"network.doh-hostname", "", adviceResolver},
	{"network.dns", "", adviceResolver},
	{"dns", "", adviceResolver},
	{"defense.blocklist.urls", "block", "paths of files; URLs have to be downloaded, with a timer"},
	{"defense.blocklist.enabled", "block", "false leaves it out"},
	{"defense.allowlist.urls", "allow", "paths of files; URLs have to be downloaded, with a timer"},
	{"defense.allowlist.enabled", "allow", "false leaves it out"},
	{"defense.blocklist.download-concurrency", "", "leave it out: lists are files"},
	{"defense.blocklist.update-each", "", "leave it out: the file is read again when it has changed"},
	{"defense.allowlist.download-concurrency", "", "leave it out: lists are files"},
	{"defense.allowlist.update-each", "", "leave it out: the file is read again when it has changed"},
	{"defense.anti-replay.*", "", adviceReplay},
	{"defense.doppelganger.*", "", adviceMeasured},
	{"tcp-buffer", "", adviceBuffers},
	{"auto-update", "", "leave it out: addresses of data centres can be set with dc"},
	{"stats.statsd.*", "", adviceMetrics},
	{"stats.prometheus.*", "", adviceMetrics},
}

// firstOf returns the value of the first of several names that has one.
func (o *options) firstOf(names ...string) string {
	for _, name := range names {
		if text := o.text(name); text != "" {
			return text
		}
	}
	return ""
}

func convertMTG(o *options, out *output) {
	domain := ""
	if secret := o.text("secret"); secret != "" {
		if u := out.addUser(o.line("secret"), "secret", "mtg", secret); u != nil {
			u.setNumber("max_connections", o.number("concurrency"))
		}
		if parsed, err := config.ParseSecret(secret); err == nil {
			domain = parsed.Domain
		}
	}
	secrets := o.table("secrets")
	for _, name := range secrets.keys {
		secret := textOf(secrets.values[name])
		out.addUser(o.line("secrets"), "secrets", name, secret)
		if parsed, err := config.ParseSecret(secret); err == nil && domain == "" {
			domain = parsed.Domain
		}
	}
	if len(secrets.keys) > 0 && o.number("concurrency") > 0 {
		out.note(o.line("concurrency"), "concurrency", adviceHosts)
	}
	out.setText("modes", "ee")
	out.setList("listen", nonEmpty(o.text("bind-to")))
	out.setText("ip", o.text("prefer-ip"))
	if o.flag("debug", false) {
		out.setText("log_level", "debug")
	}
	if o.flag("allow-fallback-on-unknown-dc", false) {
		out.set("default_dc", "2")
	}
	if window := o.firstOf("tolerate-time-skewness", "defense.time.allow-skewness"); window != "" {
		out.setDuration(o, "clock_window", window, "tolerate-time-skewness")
	}
	if !o.flag("defense.time.enabled", true) {
		out.set("clock_window", "0")
	}
	out.mtgFront(o, domain)
	if o.flag("proxy-protocol-listener", false) {
		out.trustAll(o, "proxy-protocol-listener")
	}
	out.setText("public", o.firstOf("public-ipv4", "network.public-ip.ipv4", "public-ipv6", "network.public-ip.ipv6"))
	out.mtgUpstreams(o)
	if timeout := o.text("network.timeout.tcp"); timeout != "" {
		out.setDuration(o, "dial_timeout", timeout, "network.timeout.tcp")
	}
	if idle := o.text("network.keep-alive.idle"); idle != "" {
		out.setDuration(o, "keep_alive", idle, "network.keep-alive.idle")
	}
	if o.flag("network.keep-alive.disabled", false) {
		out.set("keep_alive", "0")
	}
	if o.flag("defense.blocklist.enabled", true) {
		out.mtgList(o, "block", "defense.blocklist.urls")
	}
	if o.flag("defense.allowlist.enabled", false) {
		out.mtgList(o, "allow", "defense.allowlist.urls")
	}
}

func nonEmpty(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}

// setDuration sets a key to a duration, unless it is not one.
func (o *output) setDuration(from *options, key, text, option string) {
	if _, err := config.ParseDuration(text); err != nil {
		o.note(from.line(option), option, "not taken over: %v", err)
		return
	}
	o.setText(key, text)
}

// setSeconds sets a key to an option that is a number of seconds, if it is set.
func (o *output) setSeconds(from *options, key, option string) {
	if seconds := from.text(option); seconds != "" {
		o.setDuration(from, key, seconds+"s", option)
	}
}

// trustAll sets the peers that send PROXY protocol headers to all.
func (o *output) trustAll(from *options, option string) {
	o.setList("proxy_protocol_from", []string{"0.0.0.0/0", "::/0"})
	o.note(from.line(option), option, "every peer may send any address of a client: restrict proxy_protocol_from to the addresses of the load balancer")
}

// mtgFront sets the fronting host.
func (o *output) mtgFront(from *options, domain string) {
	host := from.firstOf("domain-fronting.host", "domain-fronting.ip", "domain-fronting-host", "domain-fronting-ip")
	port := from.firstOf("domain-fronting.port", "domain-fronting-port", "cloak-port")
	header := from.flag("domain-fronting.proxy-protocol", from.flag("domain-fronting-proxy-protocol", false))
	if host == "" && (port == "" || port == "443") && !header {
		return
	}
	if host == "" {
		host = domain
	}
	if host == "" {
		return
	}
	if port == "" {
		port = "443"
	}
	front := net.JoinHostPort(strings.Trim(host, "[]"), port)
	if header {
		front += "?proxy-protocol=2"
	}
	o.setList("front", []string{front})
}

// mtgUpstreams sets the upstreams: those of mtg have parameters that ours do not.
func (o *output) mtgUpstreams(from *options) {
	var upstreams []string
	for _, element := range from.list("network.proxies") {
		text := textOf(element)
		if text == "" {
			upstreams = append(upstreams, "direct")
			continue
		}
		parsed, err := url.Parse(text)
		if err != nil || parsed.Scheme != "socks5" || parsed.Host == "" {
			o.note(from.line("network.proxies"), "network.proxies", "number %d is not taken over: it is no URL of a SOCKS5 proxy", len(upstreams)+1)
			continue
		}
		if parsed.RawQuery != "" {
			o.note(from.line("network.proxies"), "network.proxies", "the parameters of number %d are not taken over: upstreams that fail are tried last", len(upstreams)+1)
		}
		parsed.RawQuery, parsed.Path = "", ""
		upstreams = append(upstreams, parsed.String())
	}
	o.setList("upstream", upstreams)
}

// mtgList sets a list of networks.
func (o *output) mtgList(from *options, key, name string) {
	var paths []string
	for _, element := range from.list(name) {
		text := textOf(element)
		if strings.Contains(text, "://") && !strings.HasPrefix(text, "file://") {
			o.note(from.line(name), name, "%s: "+adviceDownload, text, key)
			continue
		}
		paths = append(paths, strings.TrimPrefix(text, "file://"))
	}
	o.setList(key, paths)
}
