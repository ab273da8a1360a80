package main

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// parseFlags parses a command line with the flags that define defines.
func parseFlags(define func(*cobra.Command), args ...string) error {
	cmd := &cobra.Command{SilenceErrors: true, SilenceUsage: true, Run: func(*cobra.Command, []string) {}}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return nameFlag(err) })
	cmd.SetOut(io.Discard)
	define(cmd)
	cmd.SetArgs(args)
	return cmd.Execute()
}

// The values of a repeatable flag replace its default, in order.
func TestRepeatedFlagReplacesItsDefault(t *testing.T) {
	var families []datacenter.Family
	define := func(cmd *cobra.Command) {
		families = []datacenter.Family{datacenter.OnlyIPv4, datacenter.OnlyIPv6}
		listVar(cmd.Flags(), &families, "ip", errorsQuote, "")
	}
	for _, test := range []struct {
		args []string
		want []datacenter.Family
	}{
		{nil, []datacenter.Family{datacenter.OnlyIPv4, datacenter.OnlyIPv6}},
		{[]string{"--ip", "only-ipv6"}, []datacenter.Family{datacenter.OnlyIPv6}},
		{[]string{"--ip", "prefer-ipv6", "--ip=only-ipv4"}, []datacenter.Family{datacenter.PreferIPv6, datacenter.OnlyIPv4}},
	} {
		if err := parseFlags(define, test.args...); err != nil || !slices.Equal(families, test.want) {
			t.Errorf("%q: %v, %v", test.args, families, err)
		}
	}
}

// The help text has the default of a repeatable flag.
func TestHelpShowsTheDefaultOfARepeatableFlag(t *testing.T) {
	families := []datacenter.Family{datacenter.OnlyIPv4, datacenter.OnlyIPv6}
	cmd := &cobra.Command{}
	listVar(cmd.Flags(), &families, "ip", errorsQuote, "one of the `FAMILIES`")
	if help := cmd.Flags().FlagUsages(); !strings.Contains(help, "--ip FAMILIES   one of the FAMILIES (default only-ipv4, only-ipv6)") {
		t.Error(help)
	}
}

// An error has the flag's name in front. It tells which value of a repeatable flag
// is meant, and does not quote a value that may be a secret.
func TestErrorsOfFlagsDoNotQuoteSecrets(t *testing.T) {
	var secrets []mtproxy.Secret
	var families []datacenter.Family
	define := func(cmd *cobra.Command) {
		secrets, families = nil, nil
		listVar(cmd.Flags(), &secrets, "secret", errorsNumbered, "")
		listVar(cmd.Flags(), &families, "ip", errorsQuote, "")
		cmd.Flags().Int("port", 0, "")
	}
	good := "--secret=" + mtwiretest.PlainSecret
	for want, args := range map[string][]string{
		"--secret: number 1: bad secret: 30 hexadecimal digits, want an even number from 32 up": {"--secret=" + mtwiretest.PlainSecret[2:]},
		"--secret: number 3: bad secret: 30 hexadecimal digits, want an even number from 32 up": {good, good, "--secret", mtwiretest.PlainSecret[2:]},
		"--secret: number 2: bad secret: empty":                                                 {good, "--secret="},
		`--ip: unknown address family "ipv5": want `:                                            {"--ip=only-ipv4", "--ip=ipv5"},
		`--port: "https": want a whole number`:                                                  {"--port=https"},
	} {
		err := parseFlags(define, args...)
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), mtwiretest.PlainSecret[2:]) {
			t.Errorf("%q: %v", args, err)
		}
	}
}

// A flag whose value is a file or a directory is completed to one.
func TestPathsAreCompleted(t *testing.T) {
	for _, cmd := range allCommands(rootCommand()) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			kind, _ := pflag.UnquoteUsage(f)
			_, none := cmd.GetFlagCompletionFunc(f.Name)
			switch {
			case f.Name == "web-path": // of a URL
			case kind == "FILE" || kind == "PATH":
				if none {
					t.Errorf("%s --%s is completed to no file", cmd.CommandPath(), f.Name)
				}
			case kind == "DIRECTORY" && !slices.Contains(directoryFlags, f.Name):
				t.Errorf("%s --%s is completed to no directory", cmd.CommandPath(), f.Name)
			}
		})
	}
}
