package main

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Help of all commands: it fits the width of a terminal, 80 columns at most, and has
// the flags in groups. manpage.go prints the same in another format.

// maxHelpWidth is the width of the help, in columns, unless the terminal has less.
const maxHelpWidth = 80

// minHelpWidth is the least width that the help is fitted to: a flag and its value
// take that much.
const minHelpWidth = 40

// flagGroups are the groups of the flags of mtwire proxy, in the order of the help.
// Flags of no group come last, as do all flags of other commands.
var flagGroups = []struct{ title, flags string }{
	{"Configuration", "config watch check"},
	{"Clients", "listen port reuse-port proxy-protocol-from secrets secret modes allow block clock-window"},
	{"The generated secret", "domain state"},
	{"The web site and its WEB proxy", "web web-path web-cert web-key web-acme-directory web-acme-email web-site web-carrier web-listen web-forwarded-from"},
	{"Links", "public print-links qr"},
	{"Unauthenticated clients", "front max-unauthenticated max-unauthenticated-per-address max-unauthenticated-rate max-fronted search-processors"},
	{"Data centres", "dc default-dc ip upstream upstreams fast-mode dial-timeout stall probe"},
	{"Life of connections", "keep-alive peer-timeout drain"},
	{"Operation", "takeover admin admin-token-file metrics-users"},
	{"Log", "log-file log-level log-json log-connections log-clients verbose"},
}

// otherFlags is the title of the flags of no group.
const otherFlags = "Other"

// flagSection is a group of a command's flags.
type flagSection struct {
	title string // "" if the command has no groups
	flags []*pflag.Flag
}

// sectionsOf returns the flags of a command that are not hidden, by group.
func sectionsOf(cmd *cobra.Command) (sections []flagSection) {
	var rest []*pflag.Flag
	grouped := make([]flagSection, len(flagGroups))
	visit := func(f *pflag.Flag) {
		i := slices.IndexFunc(flagGroups, func(g struct{ title, flags string }) bool {
			return slices.Contains(strings.Fields(g.flags), f.Name)
		})
		switch {
		case f.Hidden:
		case i < 0 || cmd.Name() != "proxy":
			rest = append(rest, f)
		default:
			grouped[i].flags = append(grouped[i].flags, f)
		}
	}
	cmd.InitDefaultHelpFlag()
	if help := cmd.Flags().Lookup("help"); help != nil {
		help.Usage = "print this help"
	}
	cmd.LocalFlags().VisitAll(visit)
	for i, section := range grouped {
		if len(section.flags) > 0 {
			sections = append(sections, flagSection{flagGroups[i].title, section.flags})
		}
	}
	title := ""
	if len(sections) > 0 {
		title = otherFlags
	}
	if len(rest) > 0 {
		sections = append(sections, flagSection{title, rest})
	}
	return sections
}

// flagLabel returns a flag as it is given, such as "-v, --verbose" or "--dc ID=HOST:PORT",
// and its description.
func flagLabel(f *pflag.Flag) (label, description string) {
	value, description := pflag.UnquoteUsage(f)
	label = "--" + f.Name
	if f.Shorthand != "" {
		label = "-" + f.Shorthand + ", " + label
	}
	if f.Value.Type() == "bool" {
		value = ""
	}
	if name, ok := valueNames[value]; ok {
		value = name
	}
	if value != "" {
		label += " " + value
	}
	if text := defaultText(f); text != "" {
		description += " (default " + text + ")"
	}
	return label, description
}

// valueNames has the names of values that have no name in the usage text, by the name
// that package pflag gives them.
var valueNames = map[string]string{
	"string": "TEXT", "strings": "TEXT,...", "int": "NUMBER", "ints": "NUMBER,...", "uint16": "NUMBER", "int16": "NUMBER",
	"float": "NUMBER", "duration": "DURATION", "value": "VALUE",
}

// defaultText returns the default of a flag, or "" if it is the zero value, or the
// usage text tells it.
func defaultText(f *pflag.Flag) string {
	switch text := f.DefValue; {
	case text == "" || text == "0" || text == "0s" || text == "[]" || text == "false" || strings.Contains(f.Usage, "(default"):
		return ""
	case f.Value.Type() == "duration":
		return durationText(text)
	default:
		return text
	}
}

// printHelp prints the help of a command, in lines of at most width columns, except
// for words that are longer.
func printHelp(w io.Writer, cmd *cobra.Command, width int) error {
	out := bufio.NewWriter(w)
	fmt.Fprintln(out, wrapText(longOf(cmd), 0, width))
	fmt.Fprintf(out, "\nUsage:\n  %s\n", strings.Join(usageLines(cmd), "\n  "))
	if cmd.HasExample() {
		fmt.Fprintln(out, "\nExamples:")
		for _, line := range exampleLines(cmd) {
			fmt.Fprintln(out, wrapCommand(line, width))
		}
	}
	if subs := visibleCommands(cmd); len(subs) > 0 {
		fmt.Fprintln(out, "\nCommands:")
		for _, sub := range subs {
			fmt.Fprintln(out, labelled(sub.Name(), sub.Short, 14, width))
		}
	}
	for _, section := range sectionsOf(cmd) {
		title := "Flags"
		if section.title != "" {
			title = section.title
		}
		fmt.Fprintf(out, "\n%s:\n", title)
		for _, f := range section.flags {
			label, description := flagLabel(f)
			if f.Shorthand == "" {
				label = "    " + label
			}
			fmt.Fprintln(out, labelled(label, description, 30, width))
		}
	}
	if len(visibleCommands(cmd)) > 0 {
		fmt.Fprintln(out, "\n"+wrapText(cmd.CommandPath()+" COMMAND --help prints the help of a command.", 0, width))
	}
	return out.Flush()
}

// longOf returns the text at the top of a command's help.
func longOf(cmd *cobra.Command) string {
	if cmd.Long != "" {
		return strings.TrimSpace(cmd.Long)
	}
	return cmd.Short
}

// usageLines returns the ways in which a command is called.
func usageLines(cmd *cobra.Command) (lines []string) {
	hasCommands := len(visibleCommands(cmd)) > 0
	if !hasCommands || strings.Contains(cmd.Use, " ") {
		lines = append(lines, cmd.UseLine())
	}
	if hasCommands {
		lines = append(lines, cmd.CommandPath()+" COMMAND [flags]")
	}
	return lines
}

// visibleCommands returns the subcommands that are listed.
func visibleCommands(cmd *cobra.Command) (subs []*cobra.Command) {
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() && !sub.Hidden {
			subs = append(subs, sub)
		}
	}
	return subs
}

// exampleLines returns the lines of a command's examples without the space in front.
func exampleLines(cmd *cobra.Command) (lines []string) {
	for line := range strings.Lines(cmd.Example) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines
}

// labelled returns a label and its description, which begins at a column, on the line
// of the label if that is short enough.
func labelled(label, description string, column, width int) string {
	column = min(column, width/3)
	text := wrapText(description, column, width)
	if len(label)+4 > column {
		return "  " + label + "\n" + text
	}
	return "  " + label + text[len(label)+2:]
}

// wrapText returns text in lines of at most width columns, with indent spaces in front
// of each. Paragraphs have an empty line between. Lines that begin with a space or are
// numbered stay as they are.
func wrapText(text string, indent, width int) string {
	var out strings.Builder
	margin := strings.Repeat(" ", indent)
	column := 0 // 0: nothing is on the line
	newline := func() {
		if column > 0 {
			out.WriteString("\n")
		}
		column = 0
	}
	for line := range strings.SplitSeq(text, "\n") {
		if strings.TrimSpace(line) == "" {
			newline()
			out.WriteString("\n")
			continue
		}
		if line[0] == ' ' || line[0] == '\t' {
			newline()
			out.WriteString(margin + strings.ReplaceAll(line, "\t", "  "))
			column = 1
			newline()
			continue
		}
		for word := range strings.FieldsSeq(line) {
			length := len([]rune(word))
			if column > 0 && column+1+length > width {
				newline()
			}
			if column == 0 {
				out.WriteString(margin + word)
				column = indent + length
			} else {
				out.WriteString(" " + word)
				column += 1 + length
			}
		}
	}
	return strings.TrimRight(out.String(), "\n")
}

// wrapCommand returns a command line of an example, indented, and continued on the
// next line in front of a flag where it is too long.
func wrapCommand(line string, width int) string {
	const indent, more = "  ", "      "
	if strings.HasPrefix(line, "#") {
		return wrapText(line, len(indent), width)
	}
	var out strings.Builder
	out.WriteString(indent)
	column := len(indent)
	for i, part := range commandParts(line) {
		if i > 0 {
			// " \" takes two columns.
			if column+1+len(part)+2 > width {
				out.WriteString(" \\\n" + more)
				column = len(more)
			} else {
				out.WriteString(" ")
				column++
			}
		}
		out.WriteString(part)
		column += len(part)
	}
	return out.String()
}

// commandParts splits a command line in front of flags and of quoted arguments. A
// flag and its value stay together.
func commandParts(line string) (parts []string) {
	for _, word := range strings.Split(line, " ") {
		begins := strings.HasPrefix(word, "--") || strings.HasPrefix(word, "'")
		if last := len(parts) - 1; last < 0 || begins && !(word[0] == '\'' && isFlag(parts[last])) {
			parts = append(parts, word)
		} else {
			parts[last] += " " + word
		}
	}
	return parts
}

// isFlag reports whether part is a flag without its value.
func isFlag(part string) bool { return strings.HasPrefix(part, "--") && !strings.Contains(part, " ") }

// helpWidth returns the width of the help on w.
func helpWidth(w io.Writer) int {
	if t := terminalOf(w); t != nil {
		return min(max(t.width, minHelpWidth), maxHelpWidth)
	}
	return maxHelpWidth
}

// useHelp makes root and its subcommands print this help.
func useHelp(root *cobra.Command) {
	for _, cmd := range root.Commands() {
		if cmd.Name() == "completion" {
			cmd.Short = "Print a script that completes commands in a shell"
			cmd.Example = "  . <(mtwire completion bash)"
			cmd.Args = noArguments // an unknown shell is an error
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
	}
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
		printHelp(cmd.OutOrStdout(), cmd, helpWidth(cmd.OutOrStdout()))
	})
	root.SetHelpCommand(&cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Print the help of a command",
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			found := cmd.Root()
			for _, name := range args {
				i := slices.IndexFunc(found.Commands(), func(sub *cobra.Command) bool { return sub.Name() == name })
				if i < 0 {
					return unknownCommand(found, name)
				}
				found = found.Commands()[i]
			}
			return printHelp(cmd.OutOrStdout(), found, helpWidth(cmd.OutOrStdout()))
		},
	})
}
