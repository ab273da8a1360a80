package migrate

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/mtwire/mtwire/internal/service/config"
)

// telemtOptions are those of telemt 3.
//
// Source: https://github.com/telemt/telemt/blob/main/docs/Config_params/CONFIG_PARAMS.en.md
var telemtOptions = []Option{
	{"access.users", "user.secret", ""},
	{"access.user_enabled", "user.enabled", ""},
	{"access.user_expirations", "user.expires", ""},
	{"access.user_max_tcp_conns", "user.max_connections", ""},
	{"access.user_max_tcp_conns_global_each", "user.max_connections", "of the users without a limit of their own"},
	{"access.user_max_unique_ips", "user.max_addresses", ""},
	{"access.user_max_unique_ips_global_each", "user.max_addresses", "of the users without a limit of their own"},
	{"access.global_user_max_unique_ips", "user.max_addresses", "of the users without a limit of their own"},
	{"access.user_max_unique_ips_mode", "user.address_window", "active_window is 0"},
	{"access.user_max_unique_ips_window_secs", "user.address_window", ""},
	{"access.user_data_quota", "user.quota", "without a period, as there; quota_period begins it anew"},
	{"access.user_rate_limits", "user.rate_up, user.rate_down", "bits there, bytes here"},
	{"access.cidr_rate_limits", "", "rates are limited by user: rate_up and rate_down"},
	{"access.user_source_deny", "", "user.networks has the networks that a user may connect from, and block those of no user"},
	{"access.user_ad_tags", "", adviceAdTag},
	{"access.replay_*", "", adviceReplay},
	{"access.ignore_time_skew", "clock_window", "true is 0"},
	{"general.modes.classic", "modes", ""},
	{"general.modes.secure", "modes", ""},
	{"general.modes.tls", "modes", ""},
	{"general.fast_mode", "fast_mode", ""},
	{"general.log_level", "log_level", "verbose is \"debug\", normal \"info\", silent \"error\""},
	{"general.links.public_host", "public", ""},
	{"general.links.public_port", "public", ""},
	{"general.links.show", "", "print_links prints all links; mtwire link NAME prints those of one user"},
	{"show_link", "", "print_links prints all links; mtwire link NAME prints those of one user"},
	{"default_dc", "default_dc", ""},
	{"general.default_dc", "default_dc", ""},
	{"dc_overrides", "dc", ""},
	{"general.tg_connect", "dial_timeout", ""},
	{"general.ad_tag", "", adviceAdTag},
	{"general.use_middle_proxy", "", adviceMiddle},
	{"general.middle_proxy_*", "", adviceMiddle},
	{"general.proxy_secret_*", "", adviceMiddle},
	{"general.proxy_config_*", "", adviceMiddle},
	{"general.me_*", "", adviceMiddle},
	{"general.hardswap", "", adviceMiddle},
	{"general.*", "", "leave it out: this proxy has no such setting"},
	{"network.ipv4", "ip", ""},
	{"network.ipv6", "ip", ""},
	{"network.prefer", "ip", ""},
	{"network.dns_overrides", "", adviceResolver},
	{"network.*", "", "leave it out: public = \"auto\" asks a STUN server for the address in the links"},
	{"server.port", "listen", ""},
	{"server.listen_addr_ipv4", "listen", ""},
	{"server.listen_addr_ipv6", "listen", ""},
	{"server.listen_unix_sock", "listen", "with mode 660"},
	{"server.listen_unix_sock_perm", "", "the mode of the socket is 660"},
	{"server.listen_tcp", "listen", ""},
	{"server.listeners", "listen, public", "address, port and announce; the rest of a listener has no counterpart"},
	{"server.proxy_protocol", "proxy_protocol_from", "of the networks of proxy_protocol_trusted_cidrs"},
	{"server.proxy_protocol_trusted_cidrs", "proxy_protocol_from", ""},
	{"server.proxy_protocol_header_timeout_ms", "", "leave it out: it is ten seconds"},
	{"server.max_connections", "", adviceHosts},
	{"server.metrics_*", "", adviceMetrics},
	{"server.api.*", "", "the API is another one: see docs/operate.md"},
	{"server.*", "", "leave it out: this proxy has no such setting"},
	{"timeouts.tg_connect", "dial_timeout", ""},
	{"timeouts.client_keepalive", "keep_alive", ""},
	{"timeouts.client_ack", "peer_timeout", ""},
	{"timeouts.client_handshake", "", adviceTimeout},
	{"timeouts.*", "", "leave it out: this proxy has no such setting"},
	{"censorship.tls_domain", "domain", ""},
	{"censorship.tls_domains", "user.secrets", "an ee secret of each user for each other domain"},
	{"censorship.mask", "", adviceNoHost},
	{"censorship.mask_host", "front", ""},
	{"censorship.mask_port", "front", ""},
	{"censorship.mask_unix_sock", "front", ""},
	{"censorship.mask_proxy_protocol", "front", ""},
	{"censorship.*", "", adviceMeasured},
	{"upstreams", "upstream", "type, address, user, password and weight; direct with an interface, SOCKS4 and scopes have no counterpart"},
	{"include", "", "import each file alone: it is not read"},
	{"logging.*", "", "log_file, log_level and log_json are the settings of the log"},
}

func convertTelemt(o *options, out *output) {
	port := o.number("server.port")
	if port == 0 {
		port = 443
	}
	out.telemtListen(o, port)
	var modes []string
	for i, mode := range []string{"classic", "secure", "tls"} {
		if o.flag("general.modes."+mode, mode == "tls") {
			modes = append(modes, []string{"classic", "dd", "ee"}[i])
		}
	}
	out.setText("modes", strings.Join(modes, ","))
	domain := o.text("censorship.tls_domain")
	if slices.Contains(modes, "ee") {
		out.setText("domain", domain)
	}
	out.setText("public", withPort(o.text("general.links.public_host"), o.number("general.links.public_port"), out.settings["public"]))
	out.telemtFront(o)
	if !o.flag("general.fast_mode", true) {
		out.set("fast_mode", "false")
	}
	if level, ok := map[string]string{"debug": "debug", "verbose": "debug", "silent": "error"}[o.text("general.log_level")]; ok {
		out.setText("log_level", level)
	}
	if o.flag("access.ignore_time_skew", false) {
		out.set("clock_window", "0")
	}
	out.setSeconds(o, "dial_timeout", "timeouts.tg_connect")
	out.setSeconds(o, "dial_timeout", "general.tg_connect")
	out.setSeconds(o, "keep_alive", "timeouts.client_keepalive")
	out.setSeconds(o, "peer_timeout", "timeouts.client_ack")
	for _, name := range []string{"default_dc", "general.default_dc"} {
		if dc := o.number(name); dc != 0 {
			out.set("default_dc", strconv.FormatInt(dc, 10))
		}
	}
	out.telemtFamily(o)
	out.telemtDataCenters(o)
	out.telemtUpstreams(o)
	out.telemtUsers(o)
	if slices.Contains(modes, "ee") {
		var others []string
		for _, other := range o.list("censorship.tls_domains") {
			if text := textOf(other); text != "" && !strings.EqualFold(text, domain) {
				others = append(others, text)
			}
		}
		out.addDomains(others)
	}
}

// withPort returns HOST:PORT, HOST, or "" if there is neither or something else was set.
func withPort(host string, port int64, before string) string {
	switch {
	case before != "" && host == "":
		return ""
	case port == 0:
		return host
	case host == "":
		return ":" + strconv.FormatInt(port, 10)
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), strconv.FormatInt(port, 10))
}

// telemtListen sets the addresses to listen on, and those in the links.
func (o *output) telemtListen(from *options, port int64) {
	var addresses []string
	address := func(ip string, port int64) {
		if ip != "" {
			addresses = append(addresses, net.JoinHostPort(strings.Trim(ip, "[]"), strconv.FormatInt(port, 10)))
		}
	}
	announced := ""
	for i, element := range from.list("server.listeners") {
		listener, ok := element.(*dict)
		if !ok {
			continue
		}
		own := port
		if n := numberOf(listener.values["port"]); n > 0 {
			own = n
		}
		address(textOf(listener.values["ip"]), own)
		for _, key := range []string{"announce", "announce_ip"} {
			if text := textOf(listener.values[key]); text != "" && announced == "" {
				announced = text
			}
		}
		for _, key := range listener.keys {
			if !slices.Contains([]string{"ip", "port", "announce", "announce_ip"}, key) {
				o.note(from.line("server.listeners"), "server.listeners", "%s of listener %d has no counterpart", quoteOption(key), i+1)
			}
		}
	}
	socket := from.text("server.listen_unix_sock")
	if len(addresses) == 0 && from.flag("server.listen_tcp", socket == "" || from.text("server.listen_addr_ipv4") != "") {
		v4, v6 := from.text("server.listen_addr_ipv4"), from.text("server.listen_addr_ipv6")
		switch {
		case v4 == "" && v6 == "", v4 == "0.0.0.0" && v6 == "::":
			addresses = append(addresses, ":"+strconv.FormatInt(port, 10))
		default:
			address(v4, port)
			address(v6, port)
		}
	}
	if socket != "" {
		addresses = append(addresses, "unix:"+socket)
	}
	o.setList("listen", addresses)
	o.setText("public", announced)
	if from.flag("server.proxy_protocol", false) {
		var networks []string
		for _, network := range from.list("server.proxy_protocol_trusted_cidrs") {
			networks = append(networks, textOf(network))
		}
		if socket != "" {
			networks = append(networks, "unix")
		}
		if len(from.list("server.proxy_protocol_trusted_cidrs")) == 0 {
			o.trustAll(from, "server.proxy_protocol")
		} else {
			o.setList("proxy_protocol_from", networks)
		}
	}
}

// telemtFront sets the fronting host.
func (o *output) telemtFront(from *options) {
	front := ""
	if socket := from.text("censorship.mask_unix_sock"); socket != "" {
		front = "unix:" + socket
	} else if host, port := from.text("censorship.mask_host"), from.text("censorship.mask_port"); host != "" || port != "" && port != "443" {
		if host == "" {
			host = from.text("censorship.tls_domain")
		}
		if port == "" {
			port = "443"
		}
		front = net.JoinHostPort(strings.Trim(host, "[]"), port)
	}
	version := from.number("censorship.mask_proxy_protocol")
	if version > 0 && front == "" {
		front = net.JoinHostPort(from.text("censorship.tls_domain"), "443")
	}
	if version > 0 {
		front += fmt.Sprintf("?proxy-protocol=%d", version)
	}
	o.setList("front", nonEmpty(front))
}

func (o *output) telemtFamily(from *options) {
	v4, v6, prefers6 := from.flag("network.ipv4", true), from.flag("network.ipv6", false), from.number("network.prefer") == 6
	switch {
	case from.get("network.ipv4") == nil && from.get("network.ipv6") == nil && from.get("network.prefer") == nil:
	case v4 && !v6:
		o.setText("ip", "only-ipv4")
	case v6 && !v4:
		o.setText("ip", "only-ipv6")
	case prefers6:
		o.setText("ip", "prefer-ipv6")
	}
}

func (o *output) telemtDataCenters(from *options) {
	var addresses []string
	overrides := from.table("dc_overrides")
	for _, dc := range overrides.keys {
		values, isList := overrides.values[dc].([]any)
		if !isList {
			values = []any{overrides.values[dc]}
		}
		for _, value := range values {
			addresses = append(addresses, dc+"="+textOf(value))
		}
	}
	o.setList("dc", addresses)
}

func (o *output) telemtUpstreams(from *options) {
	var upstreams []string
	for i, element := range from.list("upstreams") {
		upstream, ok := element.(*dict)
		if !ok || upstream.values["enabled"] == false {
			continue
		}
		unsupported := func(format string, args ...any) {
			o.note(from.line("upstreams"), "upstreams", fmt.Sprintf("number %d: ", i+1)+format, args...)
		}
		text := "direct"
		switch kind := textOf(upstream.values["type"]); kind {
		case "direct":
		case "socks5":
			u := url.URL{Scheme: "socks5", Host: textOf(upstream.values["address"])}
			if name := textOf(upstream.values["username"]); name != "" {
				u.User = url.UserPassword(name, textOf(upstream.values["password"]))
			}
			text = u.String()
		default:
			unsupported("upstreams of type %s have no counterpart", quoteOption(kind))
			continue
		}
		for _, key := range upstream.keys {
			if slices.Contains([]string{"interface", "bind_addresses", "scopes"}, key) {
				unsupported("%s has no counterpart", key)
			}
		}
		if weight := numberOf(upstream.values["weight"]); weight > 1 {
			text += fmt.Sprintf("?weight=%d", weight)
		}
		upstreams = append(upstreams, text)
	}
	o.setList("upstream", upstreams)
}

// telemtUsers adds the users with their limits.
func (o *output) telemtUsers(from *options) {
	users := from.table("access.users")
	limit := func(name, all string) int64 {
		if n := numberOf(from.table("access." + all).values[name]); n > 0 {
			return n
		}
		return max(from.number("access."+all+"_global_each"), from.number("access.global_"+all))
	}
	window := from.number("access.user_max_unique_ips_window_secs")
	if window == 0 {
		window = 30
	}
	if mode := from.text("access.user_max_unique_ips_mode"); mode == "" || mode == "active_window" {
		window = 0
	}
	for _, name := range users.keys {
		u := o.addUser(from.line("access.users."+name), "access.users", name, textOf(users.values[name]))
		if u == nil {
			continue
		}
		if from.table("access.user_enabled").values[name] == false {
			u.set("enabled", "false")
		}
		if expires := textOf(from.table("access.user_expirations").values[name]); expires != "" {
			o.setExpiry(u, from, "access.user_expirations", expires)
		}
		u.setNumber("max_connections", limit(name, "user_max_tcp_conns"))
		if addresses := limit(name, "user_max_unique_ips"); addresses > 0 {
			u.setNumber("max_addresses", addresses)
			u.set("address_window", config.Quote(strconv.FormatInt(window, 10)+"s"))
		}
		u.setNumber("quota", numberOf(from.table("access.user_data_quota").values[name]))
		if rates, ok := from.table("access.user_rate_limits").values[name].(*dict); ok {
			u.setNumber("rate_up", numberOf(rates.values["up_bps"])/8)
			u.setNumber("rate_down", numberOf(rates.values["down_bps"])/8)
		}
	}
}

// setExpiry sets when a user expires.
func (o *output) setExpiry(u *user, from *options, option, text string) {
	var expires config.Time
	if err := expires.UnmarshalText([]byte(text)); err != nil {
		o.note(from.line(option), option, "of %s is not taken over: %v", u.name, err)
		return
	}
	u.set("expires", config.Quote(text))
}
