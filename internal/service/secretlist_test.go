package service

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
)

func writeList(t *testing.T, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// names returns the names of users, or the error.
func names(users []NamedSecret, err error) string {
	if err != nil {
		return err.Error()
	}
	var all []string
	for _, user := range users {
		all = append(all, user.Name+"/"+user.Secret.Mode.String())
	}
	return strings.Join(all, " ")
}

func TestListsAreReadAsPeopleWriteThem(t *testing.T) {
	const plain, dd, base64 = mtwiretest.PlainSecret, mtwiretest.PaddedSecret, "3QABAgMEBQYHCAkKCwwNDg8="
	for text, want := range map[string]string{
		plain:        "/plain",
		plain + "\n": "/plain",
		"# users\n\nalice=" + dd + " # phone\r\n\tbob=" + plain + "\r\n": "alice/padded bob/plain",
		"alice = " + dd + "\nbob = " + base64:                            "alice/padded bob/padded",
		"alice=" + dd + ",bob=" + plain:                                  "alice/padded bob/plain",
		"alice=" + base64 + " bob=" + plain:                              "alice/padded bob/plain",
		"\ufeffalice=" + dd:                                              "alice/padded",
	} {
		if got := names(parseList[NamedSecret](text)); got != want {
			t.Errorf("%q: %s", text, got)
		}
	}
	for text, want := range map[string]string{
		"":                                  "nothing is in it",
		"# " + plain:                        "nothing is in it",
		"\n\nalice=0001":                    "line 3: bad secret: ",
		"alice=" + dd + "\nal ice=" + plain: "line 2: bad secret: ",
		"alice =\n" + plain:                 "line 1: bad secret: ",
	} {
		if got := names(parseList[NamedSecret](text)); !strings.HasPrefix(got, want) || strings.Contains(got, plain) {
			t.Errorf("%q: %s", text, got)
		}
	}
}

// Secrets of flags and of a file add up. Only without both, the variable has them,
// and only without the variable the credential.
func TestSecretsHaveAnOrderOfSources(t *testing.T) {
	file := writeList(t, "file="+mtwiretest.PaddedSecret)
	flag := NamedSecret{"flag", secretOf(t, mtwiretest.PlainSecret)}
	credentials := t.TempDir()
	if err := os.WriteFile(filepath.Join(credentials, "secrets"), []byte("credential="+mtwiretest.FakeTLSSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		config                Config
		variable, credentials string
		want                  string
	}{
		{Config{Secrets: []NamedSecret{flag}, SecretsFile: file}, "variable=" + mtwiretest.PlainSecret, credentials, "flag/plain file/padded"},
		{Config{SecretsFile: file}, "variable=" + mtwiretest.PlainSecret, credentials, "file/padded"},
		{Config{Secrets: []NamedSecret{flag}}, "variable=" + mtwiretest.PlainSecret, credentials, "flag/plain"},
		{Config{}, "variable=" + mtwiretest.PlainSecret, credentials, "variable/plain"},
		{Config{}, "", credentials, "credential/faketls"},
		{Config{}, "", t.TempDir(), ""},
		{Config{}, "", "", ""},
		{Config{}, "alice=00", "", "MTWIRE_SECRETS: line 1: bad secret: 2 hexadecimal digits, want an even number from 32 up"},
		{Config{}, " ", credentials, "MTWIRE_SECRETS: nothing is in it"},
		{Config{SecretsFile: file + "s"}, "", "", "secrets: open " + file + "s: no such file or directory"},
		{Config{SecretsFile: writeList(t, "")}, "", "", "nothing is in it"},
	} {
		t.Setenv(secretsVariable, test.variable)
		t.Setenv(credentialsVariable, test.credentials)
		if got := names(test.config.secretList(discard)); got != test.want && !(strings.HasSuffix(got, test.want) && test.want == "nothing is in it") {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
	t.Setenv(upstreamsVariable, "")
	t.Setenv(credentialsVariable, "")
	config := Config{UpstreamsFile: writeList(t, "# two\nsocks5://me:hunter2@127.0.0.1:1080?weight=3\ndirect\n")}
	if upstreams, err := config.upstreamList(discard); err != nil || len(upstreams) != 2 || !upstreams[0].HasCredentials() || upstreams[1].HasCredentials() {
		t.Errorf("%v, %v", upstreams, err)
	}
	config.UpstreamsFile = writeList(t, "socks5://me:hunter2@")
	if _, err := config.upstreamList(discard); err == nil || !strings.HasPrefix(err.Error(), "upstreams: ") || strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
}

// A service has the users of its file. Names must differ between sources, too.
func TestServiceHasTheUsersOfItsFile(t *testing.T) {
	config := testConfig(t)
	config.SecretsFile = writeList(t, "bob="+mtwiretest.PlainSecret[2:]+"00\n"+mtwiretest.PlainSecret[4:]+"0000\n")
	s := listening(t, config)
	var users []string
	for _, user := range s.limited {
		users = append(users, user.Name)
	}
	if !slices.Equal(users, []string{"alice", "bob", "3"}) {
		t.Error(users)
	}
	config.SecretsFile = writeList(t, "alice="+mtwiretest.PlainSecret[2:]+"00")
	if _, err := New(config, discard); err == nil || !strings.Contains(err.Error(), `numbers 1 and 2 are both called "alice"`) {
		t.Error(err)
	}
}

func TestListsThatOthersCanReadAreWarnedOf(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // no such bits
	}
	path := writeList(t, mtwiretest.PlainSecret)
	for mode, warned := range map[os.FileMode]bool{0o600: false, 0o400: false, 0o644: true} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		config := Config{SecretsFile: path}
		if _, err := config.secretList(slog.New(slog.NewTextHandler(&log, nil))); err != nil || strings.Contains(log.String(), "chmod 600") != warned {
			t.Errorf("%v: %v, log %s", mode, err, log.String())
		}
	}
}

// A file without an end is an error, and does not take all memory.
func TestLongFilesAreNotRead(t *testing.T) {
	path := writeList(t, "")
	if err := os.Truncate(path, maxListFile+1); err != nil {
		t.Fatal(err)
	}
	config := Config{SecretsFile: path}
	if _, err := config.secretList(discard); !errors.Is(err, errTooLong) {
		t.Error(err)
	}
}

// What parses has values, whose texts are in the list.
func FuzzParseList(f *testing.F) {
	f.Add("alice=" + mtwiretest.PaddedSecret + " # phone\nbob = " + mtwiretest.PlainSecret)
	f.Fuzz(func(t *testing.T, text string) {
		secrets, err := parseList[NamedSecret](text)
		if (err == nil) != (len(secrets) > 0) {
			t.Fatalf("%d values, %v", len(secrets), err)
		}
		for _, s := range secrets {
			if s.Secret == (mtproxy.Secret{}) || !strings.Contains(text, s.Name) {
				t.Fatalf("%v", s)
			}
		}
	})
}
