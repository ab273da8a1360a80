package migrate_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/internal/service"
	"github.com/mtwire/mtwire/internal/service/config"
	"github.com/mtwire/mtwire/internal/service/migrate"
)

// imported imports a text, and returns the settings that the result stands for.
func imported(t *testing.T, text string, from migrate.Program) (service.Config, *migrate.Result) {
	t.Helper()
	result, err := migrate.Import([]byte(text), from)
	if err != nil {
		t.Fatal(err)
	}
	c := service.Default()
	document, err := config.Decode("mtwire.toml", result.TOML, &c)
	if err != nil {
		t.Fatalf("%v in\n%s", err, result.TOML)
	}
	check := c
	check.Allow, check.Block = nil, nil // the files are not there
	check.State = t.TempDir()
	for _, err := range service.Check(check, slog.New(slog.DiscardHandler)) {
		t.Errorf("%v in\n%s", service.NameError(err, document), result.TOML)
	}
	return c, result
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// shown returns the settings that differ from the defaults, and the users with their
// secrets, as lines.
func shown(t *testing.T, c service.Config) string {
	t.Helper()
	lines := func(c service.Config) []string {
		var out strings.Builder
		if err := config.Encode(&out, c, func(string) string { return "" }); err != nil {
			t.Fatal(err)
		}
		return strings.Split(out.String(), "\n")
	}
	usual := lines(service.Default())
	var different []string
	for _, line := range lines(c) {
		line = strings.TrimPrefix(line, "# without credentials: ")
		if line != "" && !slices.Contains(usual, line) && !strings.HasPrefix(line, "# ") && !strings.HasPrefix(line, "secret") {
			different = append(different, line)
		}
	}
	for _, user := range c.Users {
		for _, secret := range append([]config.Secret{user.Secret}, user.Secrets...) {
			if secret.Mode != 0 {
				different = append(different, user.Name+" "+secret.Secret.String())
			}
		}
	}
	return strings.Join(different, "\n") + "\n"
}

func compare(t *testing.T, got, want string) {
	t.Helper()
	if want = strings.TrimLeft(want, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// notes are what the notes have to tell, each once.
func checkNotes(t *testing.T, result *migrate.Result, want ...string) {
	t.Helper()
	for _, text := range want {
		n := 0
		for _, note := range result.Notes {
			if strings.Contains(note.String(), text) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d notes with %q", n, text)
		}
	}
	if len(result.Notes) != len(want) {
		t.Errorf("%d notes, want %d: %v", len(result.Notes), len(want), result.Notes)
	}
	for _, note := range result.Notes {
		if !strings.Contains(string(result.TOML), "# "+note.String()) {
			t.Errorf("the file does not have the note %v", note)
		}
	}
}

func TestMTGIsImported(t *testing.T) {
	c, result := imported(t, readFile(t, "mtg.toml"), "")
	if result.Program != migrate.MTG {
		t.Fatal(result.Program)
	}
	compare(t, shown(t, c), `
listen = ["0.0.0.0:3128"]
modes = "ee"
clock_window = "10s"
front = ["www.example.org:8443"]
default_dc = 2
ip = "prefer-ipv6"
upstream = ["socks5://198.51.100.7:1080", "direct"]
dial_timeout = "7s"
public = "203.0.113.5"
block = ["/etc/mtg/own.netset"]
log_level = "debug"
[[user]]
name = "mtg"
max_connections = 4096
mtg ee0123456789abcdef0123456789abcdef7777772e6578616d706c652e6f7267
`)
	if !strings.Contains(string(result.TOML), `"socks5://name:pass@198.51.100.7:1080"`) {
		t.Error("the password of an upstream is lost")
	}
	checkNotes(t, result, "line 10: tcp-buffer: ", "auto-update: ", "network.doh-ip: ", "network.proxies: the parameters of number 1",
		"network.proxies: number 3", "network.timeout.http: ", "network.timeout.idle: ", "defense.anti-replay.enabled: ",
		"defense.anti-replay.max-size: ", "defense.blocklist.urls: https://iplists", "defense.blocklist.update-each: ", "stats.prometheus.enabled: ",
		"stats.prometheus.bind-to: ", "line 40: something.new: this option is not known")
}

func TestTelemtIsImported(t *testing.T) {
	c, result := imported(t, readFile(t, "telemt.toml"), "")
	if result.Program != migrate.Telemt {
		t.Fatal(result.Program)
	}
	compare(t, shown(t, c), `
listen = ["0.0.0.0:443", "[::]:443"]
proxy_protocol_from = ["10.0.0.0/8"]
domain = "www.example.org"
modes = "dd,ee"
clock_window = "0s"
front = ["127.0.0.1:8080?proxy-protocol=2"]
dc = ["203=192.0.2.9:443", "203=192.0.2.10:443"]
ip = "prefer-ipv6"
upstream = ["direct?weight=3", "socks5://198.51.100.30:1080"]
fast_mode = false
keep_alive = "1m"
peer_timeout = "1m30s"
public = "proxy.example.org:8443"
log_level = "debug"
[[user]]
name = "alice"
expires = "2078-01-01T00:00:00Z"
max_connections = 100
max_addresses = 3
address_window = "1m"
quota = "10 GiB"
rate_up = "1 MB"
rate_down = "10 MB"
[[user]]
name = "bob-b."
enabled = false
note = "bob b."
max_connections = 50
alice 00112233445566778899aabbccddee01
alice ee00112233445566778899aabbccddee0163646e2e6578616d706c652e6e6574
bob-b. 00112233445566778899aabbccddee02
bob-b. ee00112233445566778899aabbccddee0263646e2e6578616d706c652e6e6574
`)
	checkNotes(t, result, "line 2: show_link: ", "general.use_middle_proxy: ", "general.ad_tag: ", "general.me_keepalive_enabled: ",
		"general.links.show: ", "network.stun_servers: ", "server.metrics_port: ", "server.api.enabled: ", "server.listeners: reuse_allow of listener 2",
		"timeouts.client_handshake: ", "censorship.mask: ", "censorship.tls_emulation: ", "access.replay_check_len: ",
		"access.users: the user bob b. is called bob-b. here", "upstreams: number 1: interface", "upstreams: number 3: upstreams of type socks4")
}

func TestMtprotoproxyIsImported(t *testing.T) {
	c, result := imported(t, readFile(t, "config.py"), "")
	if result.Program != migrate.Mtprotoproxy {
		t.Fatal(result.Program)
	}
	compare(t, shown(t, c), `
listen = [":443"]
domain = "www.example.org"
modes = "dd,ee"
front = ["www.example.org:8443"]
ip = "prefer-ipv6"
keep_alive = "10m"
[[user]]
name = "tg"
expires = "2030-12-31T00:00:00"
max_connections = 20
quota = "10 GiB"
[[user]]
name = "tg2"
tg 00112233445566778899aabbccddee01
tg2 00112233445566778899aabbccddee02
`)
	const notUnderstood = "this statement is not understood, and was not executed"
	checkNotes(t, result, "line 1: "+notUnderstood, "line 20: AD_TAG: ", "USER_EXPIRATIONS: of tg2", "line 24: "+notUnderstood,
		"line 27: "+notUnderstood, "METRICS_WHITELIST: ", "line 31: "+notUnderstood, "line 37: "+notUnderstood)
}

func TestMTProxyIsImported(t *testing.T) {
	unit := readFile(t, "MTProxy.service")
	c, result := imported(t, unit, "")
	if result.Program != migrate.MTProxy {
		t.Fatal(result.Program)
	}
	want := `
listen = [":443", ":8443"]
domain = "www.example.org"
modes = "ee"
public = "203.0.113.7"
log_level = "debug"
[[user]]
name = "user-1"
[[user]]
name = "user-2"
user-1 00112233445566778899aabbccddee01
user-1 ee00112233445566778899aabbccddee0163646e2e6578616d706c652e6e6574
user-2 00112233445566778899aabbccddee02
user-2 ee00112233445566778899aabbccddee0263646e2e6578616d706c652e6e6574
`
	compare(t, shown(t, c), want)
	checkNotes(t, result, "line 9: user: ", "port: ", "proxy-tag: ", "aes-pwd: ", "config-file: ", "slaves: ")

	// The command line alone, with the letters of options and their values in one word.
	line := "sudo ./mtproto-proxy -unobody -p8888 -H443 -S 00112233445566778899aabbccddee01 --aes-pwd proxy-secret proxy-multi.conf -M1 --new-option"
	c, result = imported(t, line, "")
	compare(t, shown(t, c), `
listen = [":443"]
modes = "classic,dd"
[[user]]
name = "user-1"
user-1 00112233445566778899aabbccddee01
`)
	checkNotes(t, result, "user: ", "port: ", "aes-pwd: ", "config-file: ", "slaves: ", "--new-option: this option is not known")
}

// A configuration that is none is an error, which quotes nothing of it.
func TestErrorsQuoteNoSecrets(t *testing.T) {
	const secret = "00112233445566778899aabbccddee01"
	for text, from := range map[string]migrate.Program{
		"secret = " + secret + " x": migrate.MTG, "{" + secret: "", "": "", secret: migrate.Mtprotoproxy,
		"mtproto-proxy '" + secret: migrate.MTProxy, "[access.users]\n": "", "USERS = {'a': '" + secret[1:] + "'}": "",
	} {
		result, err := migrate.Import([]byte(text), from)
		if err == nil || strings.Contains(err.Error(), secret[1:]) {
			t.Errorf("%q: %v, %v", text, result, err)
		}
	}
}

// Users whose names are not possible here can be told apart by their notes, which have the
// names, also those in another script.
func TestNamesThatAreChangedAreNotes(t *testing.T) {
	var text strings.Builder
	names := []string{"Иван", "Ольга", "tg 2", "a\u202eb", strings.Repeat("ж", 100)}
	text.WriteString("[access.users]\n")
	for i, name := range names {
		fmt.Fprintf(&text, "%q = \"%032x\"\n", name, i+1)
	}
	c, result := imported(t, text.String(), migrate.Telemt)
	want := map[string]string{"user": names[0], "user-2": names[1], "tg-2": names[2], "a-b": "a?b", "user-3": strings.Repeat("ж", 30)}
	for _, u := range c.Users {
		if note, ok := want[u.Name]; !ok || u.Note != note {
			t.Errorf("user %s has the note %q, want %q", u.Name, u.Note, note)
		}
		delete(want, u.Name)
	}
	if len(want) > 0 {
		t.Errorf("users %v are missing", want)
	}
	checkNotes(t, result, "access.users: the user Иван is called user here", "access.users: the user Ольга is called user-2 here",
		"access.users: the user tg 2 is called tg-2 here", "access.users: the user a?b is", "access.users: a user with a long name is called user-3 here")
}

// The page has each option of each program, with its key and what to do instead; keys
// are those of the schema.
func TestPageHasEveryOption(t *testing.T) {
	page, err := os.ReadFile("../../../docs/migrate.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := regexp.MustCompile("(?m)^## From .*$").Split(string(page), -1)
	keys := config.Keys(service.Config{})
	if len(sections) != len(migrate.Programs())+1 {
		t.Fatalf("%d sections, want one for each program", len(sections)-1)
	}
	for i, program := range migrate.Programs() {
		var want []string
		for _, option := range migrate.Options(program) {
			for key := range strings.SplitSeq(option.Key, ", ") {
				if key != "" && !slices.Contains(keys, key) {
					t.Errorf("%s: %s becomes %s, which is no key", program, option.Name, key)
				}
			}
			if option.Key == "" && option.Advice == "" {
				t.Errorf("%s: %s has neither a key nor advice", program, option.Name)
			}
			want = append(want, row(option))
		}
		got := regexp.MustCompile("(?m)^\\| `.*\\|$").FindAllString(sections[i+1], -1)
		if !slices.Equal(got, want) {
			t.Errorf("docs/migrate.md: the table of %s is not\n%s", program, strings.Join(want, "\n"))
		}
	}
}

// row returns an option's row of the page.
func row(option migrate.Option) string {
	key := ""
	if option.Key != "" {
		key = "`" + strings.ReplaceAll(option.Key, ", ", "`, `") + "`"
	}
	return fmt.Sprintf("| `%s` | %s | %s |", option.Name, key, option.Advice)
}
