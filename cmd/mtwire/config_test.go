package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/internal/service"
	"github.com/mtwire/mtwire/internal/service/config"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Flags without a key, and keys without a flag: docs/config.md tells them.
var (
	flagsAlone = []string{"config", "port", "qr", "verbose"}
	keysAlone  = []string{"user"}
)

// Each flag of the proxy has a key of its name in the configuration file, and each key a
// flag.
func TestFlagsAndKeysHaveTheSameNames(t *testing.T) {
	cmd := &cobra.Command{}
	(&proxyFlags{config: service.Default()}).define(cmd)
	keys := slices.DeleteFunc(config.Keys(service.Config{}), func(key string) bool { return strings.Contains(key, ".") })
	for _, key := range keys {
		if flag := strings.ReplaceAll(key, "_", "-"); (cmd.Flags().Lookup(flag) == nil) != slices.Contains(keysAlone, key) {
			t.Errorf("the key %s has no flag, or is listed as one without", key)
		}
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if slices.Contains(keys, service.Key(f.Name)) == slices.Contains(flagsAlone, f.Name) {
			t.Errorf("--%s has no key, or is listed as one without", f.Name)
		}
	})
}

// Each kind of flag overrides the key of its name, and no other key.
func TestFlagsOverrideTheFile(t *testing.T) {
	fromFile := service.Default()
	if _, err := config.Decode("x", []byte(`
listen = ["127.0.0.1:1"]
dc = ["2=192.0.2.1"]
modes = "ee"
drain = "7s"
stall = "8s"
max_fronted = 9
fast_mode = false
domain = "a.example"
log_level = "warn"
search_processors = 0.25
block = ["a"]
`), &fromFile); err != nil {
		t.Fatal(err)
	}
	given := &proxyFlags{config: service.Default()}
	cmd := &cobra.Command{}
	given.define(cmd)
	if err := cmd.ParseFlags(strings.Fields("--listen 127.0.0.1:2 --port 3 --modes dd --drain 5 --max-fronted 0 --fast-mode --log-level debug --block b --block c " +
		"--secret 000102030405060708090a0b0c0d0e0f --upstream socks5://u:p@192.0.2.1:1 --default-dc -2")); err != nil {
		t.Fatal(err)
	}
	got := overrideFile(cmd.Flags(), fromFile)
	want := given.config
	want.DataCenters, want.StallTimeout, want.Domain, want.SearchProcessors = fromFile.DataCenters, fromFile.StallTimeout, fromFile.Domain, fromFile.SearchProcessors
	if different := config.Different(got, want); len(different) > 0 {
		t.Errorf("%v are not those of the flags, or of the file\n%+v\n%+v", different, got, want)
	}
	if len(got.Listen) != 2 || len(got.Block) != 2 || got.Upstreams[0].HasCredentials() == false {
		t.Errorf("%+v", got)
	}
}
