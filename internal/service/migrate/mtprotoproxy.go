package migrate

import (
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// mtprotoproxyOptions are those of mtprotoproxy's config.py.
//
// Source: https://github.com/alexbers/mtprotoproxy/blob/master/mtprotoproxy.py
var mtprotoproxyOptions = []Option{
	{"PORT", "listen", ""},
	{"LISTEN_ADDR_IPV4", "listen", ""},
	{"LISTEN_ADDR_IPV6", "listen", ""},
	{"LISTEN_UNIX_SOCK", "listen", "with mode 660"},
	{"USERS", "user.secret", ""},
	{"MODES", "modes", "classic, secure (dd) and tls (ee)"},
	{"SECURE_ONLY", "modes", "True is dd and ee"},
	{"TLS_ONLY", "modes", "True is ee"},
	{"TLS_DOMAIN", "domain", ""},
	{"USER_MAX_TCP_CONNS", "user.max_connections", ""},
	{"USER_EXPIRATIONS", "user.expires", "at the beginning of the day in UTC: set time_zone for that of another zone"},
	{"USER_DATA_QUOTA", "user.quota", "without a period, as there; quota_period begins it anew"},
	{"MASK", "", adviceNoHost},
	{"MASK_HOST", "front", ""},
	{"MASK_PORT", "front", ""},
	{"MY_DOMAIN", "public", ""},
	{"PREFER_IPV6", "ip", "True is prefer-ipv6"},
	{"FAST_MODE", "fast_mode", ""},
	{"PROXY_PROTOCOL", "proxy_protocol_from", "True is all networks: restrict it to those of the load balancer"},
	{"SOCKS5_HOST", "upstream", ""},
	{"SOCKS5_PORT", "upstream", ""},
	{"SOCKS5_USER", "upstream", ""},
	{"SOCKS5_PASS", "upstream", ""},
	{"IGNORE_TIME_SKEW", "clock_window", "True is 0"},
	{"CLIENT_KEEPALIVE", "keep_alive", ""},
	{"CLIENT_ACK_TIMEOUT", "peer_timeout", ""},
	{"TG_CONNECT_TIMEOUT", "dial_timeout", ""},
	{"TG_READ_TIMEOUT", "", "leave it out: a stall is logged, and the session goes on"},
	{"CLIENT_HANDSHAKE_TIMEOUT", "", adviceTimeout},
	{"AD_TAG", "", adviceAdTag},
	{"USE_MIDDLE_PROXY", "", adviceMiddle},
	{"PROXY_INFO_UPDATE_PERIOD", "", adviceMiddle},
	{"REPLAY_CHECK_LEN", "", adviceReplay},
	{"CLIENT_IPS_LEN", "", "log_clients logs the addresses of clients"},
	{"STATS_PRINT_PERIOD", "", adviceMetrics},
	{"GET_TIME_PERIOD", "", "leave it out: keep the machine's clock right, with NTP"},
	{"GET_CERT_LEN_PERIOD", "", adviceMeasured},
	{"TO_CLT_BUFSIZE", "", adviceBuffers},
	{"TO_TG_BUFSIZE", "", adviceBuffers},
	{"READ_BUF_SIZE", "", adviceBuffers},
	{"METRICS_*", "", adviceMetrics},
	{"PROMETHEUS_*", "", adviceMetrics},
}

func convertMtprotoproxy(o *options, out *output) {
	port := o.text("PORT")
	if port == "" {
		port = "3256" // its default
	}
	var addresses []string
	v4, v6 := "0.0.0.0", "::"
	if len(o.all("LISTEN_ADDR_IPV4")) > 0 {
		v4 = o.text("LISTEN_ADDR_IPV4")
	}
	if len(o.all("LISTEN_ADDR_IPV6")) > 0 {
		v6 = o.text("LISTEN_ADDR_IPV6")
	}
	if v4 == "0.0.0.0" && v6 == "::" {
		addresses = append(addresses, ":"+port)
	} else {
		for _, ip := range []string{v4, v6} {
			if ip != "" {
				addresses = append(addresses, net.JoinHostPort(strings.Trim(ip, "[]"), port))
			}
		}
	}
	if socket := o.text("LISTEN_UNIX_SOCK"); socket != "" {
		addresses = append(addresses, "unix:"+socket)
	}
	out.setList("listen", addresses)
	modes := mtprotoproxyModes(o)
	out.setText("modes", strings.Join(modes, ","))
	domain := o.text("TLS_DOMAIN")
	if domain == "" {
		domain = "www.google.com" // its default
	}
	if strings.Contains(strings.Join(modes, ","), "ee") {
		out.setText("domain", domain)
	}
	out.setText("public", o.text("MY_DOMAIN"))
	if host, port := o.text("MASK_HOST"), o.text("MASK_PORT"); host != "" && host != domain || port != "" && port != "443" {
		if host == "" {
			host = domain
		}
		if port == "" {
			port = "443"
		}
		out.setList("front", []string{net.JoinHostPort(strings.Trim(host, "[]"), port)})
	}
	if o.flag("PREFER_IPV6", false) {
		out.setText("ip", "prefer-ipv6")
	}
	if !o.flag("FAST_MODE", true) {
		out.set("fast_mode", "false")
	}
	if o.flag("PROXY_PROTOCOL", false) {
		out.trustAll(o, "PROXY_PROTOCOL")
	}
	if host, port := o.text("SOCKS5_HOST"), o.text("SOCKS5_PORT"); host != "" && port != "" {
		u := url.URL{Scheme: "socks5", Host: net.JoinHostPort(strings.Trim(host, "[]"), port)}
		if name := o.text("SOCKS5_USER"); name != "" {
			u.User = url.UserPassword(name, o.text("SOCKS5_PASS"))
		}
		out.setList("upstream", []string{u.String()})
	}
	if o.flag("IGNORE_TIME_SKEW", false) {
		out.set("clock_window", "0")
	}
	out.setSeconds(o, "keep_alive", "CLIENT_KEEPALIVE")
	out.setSeconds(o, "peer_timeout", "CLIENT_ACK_TIMEOUT")
	out.setSeconds(o, "dial_timeout", "TG_CONNECT_TIMEOUT")
	out.mtprotoproxyUsers(o)
}

// mtprotoproxyModes returns the modes: all of them by default.
func mtprotoproxyModes(o *options) (modes []string) {
	given := o.table("MODES")
	for i, mode := range []string{"classic", "secure", "tls"} {
		on := given.values[mode] != false
		if o.flag("SECURE_ONLY", false) && mode == "classic" || o.flag("TLS_ONLY", false) && mode != "tls" {
			on = false
		}
		if on {
			modes = append(modes, []string{"classic", "dd", "ee"}[i])
		}
	}
	return modes
}

func (o *output) mtprotoproxyUsers(from *options) {
	users := from.table("USERS")
	for _, name := range users.keys {
		u := o.addUser(from.line("USERS"), "USERS", name, textOf(users.values[name]))
		if u == nil {
			continue
		}
		u.setNumber("max_connections", numberOf(from.table("USER_MAX_TCP_CONNS").values[name]))
		u.setNumber("quota", numberOf(from.table("USER_DATA_QUOTA").values[name]))
		text := textOf(from.table("USER_EXPIRATIONS").values[name])
		if day, err := time.Parse("2/1/2006", text); err == nil {
			u.set("expires", strconv.Quote(day.Format(time.DateOnly)))
		} else if text != "" {
			o.note(from.line("USER_EXPIRATIONS"), "USER_EXPIRATIONS", "of %s is not taken over: want day/month/year", u.name)
		}
	}
}
