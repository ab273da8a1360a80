package main

import (
	"slices"
	"strings"

	"github.com/mtwire/mtwire/datacenter"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/internal/tools/loadgen"
	"github.com/mtwire/mtwire/webproxy"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Completion of the values of flags by a shell: see mtwire completion.

// flagValues are the values of flags that can be listed, by the flag's name. A value
// that ends in "=", "/" or ":" is the beginning of one. Those of lists are completed
// one by one.
func flagValues() map[string][]string {
	var families, phases, carriers []string
	for _, carrier := range []webproxy.Carrier{webproxy.HTTPS, webproxy.HTTPSLanes, webproxy.WebSocket, webproxy.WebSocketLanes} {
		carriers = append(carriers, carrier.String())
	}
	for _, family := range []datacenter.Family{datacenter.PreferIPv4, datacenter.PreferIPv6, datacenter.OnlyIPv4, datacenter.OnlyIPv6} {
		families = append(families, family.String())
	}
	for _, phase := range loadgen.Phases() {
		phases = append(phases, string(phase))
	}
	return map[string][]string{
		"admin":               {"unix", "unix:/", "127.0.0.1:", "off"},
		"dc":                  {"1=", "2=", "3=", "4=", "5=", "203=", "*="},
		"default-dc":          {"1", "2", "3", "4", "5"},
		"front":               {"unix:/"},
		"expires":             {"never", "30d"},
		"from":                {"mtg", "telemt", "mtprotoproxy", "mtproxy"},
		"ip":                  families,
		"listen":              {":443", ":8443", "127.0.0.1:", "unix:/"},
		"log-level":           {"debug", "info", "warn", "error"},
		"modes":               {"classic", "dd", "ee"},
		"only":                phases,
		"protocol":            {frame.Abridged.String(), frame.Intermediate.String(), frame.PaddedIntermediate.String()},
		"proxy-protocol-from": {"127.0.0.1", "unix"},
		"public":              {"auto", "stun:"},
		"quota-period":        {"day", "week", "month", "none"},
		"qr":                  {"auto", "always", "never"},
		"to":                  {"tcp", "wss", "https", "tcp://", "ws://", "wss://", "http://", "https://", "tg://"},
		"url":                 {"http://", "https://"},
		"web-carrier":         carriers,
		"web-forwarded-from":  {"127.0.0.1", "unix"},
		"web-listen":          {"127.0.0.1:", "unix:/"},
		"upstream":            {"direct", "http://", "https://", "socks5://", "tg://", "wss", "wss://"},
	}
}

// listFlags are the flags whose value is a list with commas.
var listFlags = []string{"modes", "only"}

// fileFlags and directoryFlags are the flags whose value is a path.
var (
	fileFlags      = []string{"admin-token-file", "allow", "binary", "block", "certificate", "config", "log-file", "out", "secrets", "socket", "takeover", "tls-cert", "tls-key", "to-file", "token-file", "upstreams", "web-cert", "web-key"}
	directoryFlags = []string{"state", "web-site"}
)

// completeValues registers the completion of all flags of root's commands. The value
// of a flag that is in no list has no completion: it is no file.
func completeValues(root *cobra.Command) {
	all := flagValues()
	for _, cmd := range allCommands(root) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			complete := cobra.NoFileCompletions
			values := all[f.Name]
			if f.Name == "dc" && cmd.Name() == "bench" { // an ID, without an address
				values = all["default-dc"]
			}
			switch {
			case f.Value.Type() == "bool":
				return
			case slices.Contains(fileFlags, f.Name):
				complete = nil // the shell's own
			case slices.Contains(directoryFlags, f.Name):
				complete = cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs)
			case slices.Contains(listFlags, f.Name):
				complete = completeList(values)
			case values != nil:
				complete = completeValue(values)
			}
			if complete != nil {
				cmd.RegisterFlagCompletionFunc(f.Name, complete)
			}
		})
		if cmd.ValidArgsFunction == nil && !cmd.HasSubCommands() {
			cmd.ValidArgsFunction = cobra.NoFileCompletions
		}
	}
}

// allCommands returns root and all commands below it.
func allCommands(root *cobra.Command) (all []*cobra.Command) {
	all = append(all, root)
	for _, sub := range root.Commands() {
		all = append(all, allCommands(sub)...)
	}
	return all
}

// completeValue completes to one of values.
func completeValue(values []string) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, begun string) (found []string, directive cobra.ShellCompDirective) {
		directive = cobra.ShellCompDirectiveNoFileComp
		for _, value := range values {
			if !strings.HasPrefix(value, begun) {
				continue
			}
			found = append(found, value)
			if strings.ContainsRune("=/:", rune(value[len(value)-1])) {
				directive |= cobra.ShellCompDirectiveNoSpace
			}
		}
		return found, directive
	}
}

// completeList completes the last element of a list to one of values that is not in
// the list yet.
func completeList(values []string) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, begun string) (found []string, directive cobra.ShellCompDirective) {
		elements := strings.Split(begun, ",")
		before, last := elements[:len(elements)-1], elements[len(elements)-1]
		for _, value := range values {
			if strings.HasPrefix(value, last) && !slices.Contains(before, value) {
				found = append(found, strings.Join(append(slices.Clone(before), value), ","))
			}
		}
		return found, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
}

// completions returns the names that begin with begun and are not given yet, each once.
func completions(names, given []string, begun string) (found []string) {
	isKnown := make(map[string]bool)
	for _, name := range given {
		isKnown[name] = true
	}
	for _, name := range names {
		if strings.HasPrefix(name, begun) && !isKnown[name] {
			isKnown[name] = true
			found = append(found, name)
		}
	}
	return found
}
