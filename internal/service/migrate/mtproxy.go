package migrate

import (
	"net"
	"strconv"
	"strings"
)

// mtproxyOptions are those of the official MTProxy, by their long names.
//
// Source: https://github.com/TelegramMessenger/MTProxy/blob/master/mtproto/mtproto-proxy.c
var mtproxyOptions = []Option{
	{"mtproto-proxy", "listen", "the program: without --http-ports nothing is taken over"},
	{"http-ports", "listen", "-H"},
	{"address", "listen", ""},
	{"ipv6", "listen", "-6"},
	{"mtproto-secret", "user.secret", "-S; the users are called user-1, user-2 and so on"},
	{"domain", "domain, user.secrets", "-D; with modes = \"ee\", as there; an ee secret of each user for each other domain"},
	{"random-padding-only", "modes", "-R"},
	{"nat-info", "public", "the second address"},
	{"log", "log_file", "-l"},
	{"verbosity", "log_level", "-v"},
	{"proxy-tag", "", adviceAdTag},
	{"aes-pwd", "", adviceMiddle},
	{"config-file", "", adviceMiddle},
	{"slaves", "", adviceThreads},
	{"cpu-threads", "", adviceThreads},
	{"io-threads", "", adviceThreads},
	{"tcp-cpu-threads", "", adviceThreads},
	{"tcp-iothreads", "", adviceThreads},
	{"multithread", "", adviceThreads},
	{"max-special-connections", "", adviceHosts},
	{"connections", "", adviceHosts},
	{"port", "", adviceMetrics},
	{"http-stats", "", adviceMetrics},
	{"user", "", "set User= in the unit of systemd; AmbientCapabilities=CAP_NET_BIND_SERVICE allows ports below 1024"},
	{"daemonize", "", "leave it out: the process stays in the foreground, for systemd or a container to run it"},
	{"nice", "", "set Nice= in the unit of systemd"},
	{"ping-interval", "", "leave it out: keep_alive probes silent clients"},
	{"window-clamp", "", "leave it out: the kernel chooses windows"},
	{"backlog", "", "leave it out: it is the kernel's limit, net.core.somaxconn"},
	{"msg-buffers-size", "", adviceBuffers},
	{"disable-tcp", "", "leave it out: there is nothing but TCP"},
	{"crc32c", "", adviceMiddle},
	{"force-dh", "", adviceMiddle},
	{"allow-skip-dh", "", adviceMiddle},
	{"help", "", "mtwire proxy --help"},
}

func convertMTProxy(o *options, out *output) {
	host := o.text("address")
	if host == "" && o.flag("ipv6", false) {
		host = "::"
	}
	var addresses []string
	for _, ports := range o.all("http-ports") {
		for port := range strings.SplitSeq(textOf(ports.value), ",") {
			if port = strings.TrimSpace(port); port != "" {
				addresses = append(addresses, net.JoinHostPort(host, port))
			}
		}
	}
	out.setList("listen", addresses)
	if len(addresses) == 0 {
		out.note(0, "http-ports", "there is no port for clients: set listen")
	}
	for i, secret := range o.all("mtproto-secret") {
		out.addUser(secret.line, "mtproto-secret", "user-"+strconv.Itoa(i+1), textOf(secret.value))
	}
	var domains []string
	for _, domain := range o.all("domain") {
		domains = append(domains, textOf(domain.value))
	}
	switch {
	case len(domains) > 0:
		out.setText("modes", "ee")
		out.setText("domain", domains[0])
		out.addDomains(domains[1:])
	case o.flag("random-padding-only", false):
		out.setText("modes", "dd")
	default:
		out.setText("modes", "classic,dd")
	}
	if _, public, ok := strings.Cut(o.text("nat-info"), ":"); ok {
		out.setText("public", public)
	}
	out.setText("log_file", o.text("log"))
	if o.flag("verbosity", false) {
		out.setText("log_level", "debug")
	}
}
