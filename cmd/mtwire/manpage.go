package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

// Manual pages, made of what the help has.
//
// Format: https://man7.org/linux/man-pages/man7/man.7.html

// manCommand returns the command that writes the manual pages.
func manCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIRECTORY",
		Short: "Write manual pages",
		Long: `Write the manual pages of mtwire and its commands to a directory, such as
/usr/local/share/man/man1: mtwire.1, mtwire-proxy.1 and so on. The directory is made
if it is missing.`,
		Example: "  mtwire man man1",
		Args:    oneArgument("directory"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return writeManPages(cmd.Root(), args[0])
		},
	}
}

// writeManPages writes the pages of root and its subcommands, in all depths.
func writeManPages(root *cobra.Command, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, cmd := range documented(root) {
		f, err := os.Create(filepath.Join(dir, manName(cmd)+".1"))
		if err != nil {
			return err
		}
		writeManPage(f, cmd)
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// documented returns root and the subcommands that have a page.
func documented(root *cobra.Command) (all []*cobra.Command) {
	all = append(all, root)
	if root.Name() == "completion" {
		return all // its page has the commands for all shells
	}
	for _, sub := range visibleCommands(root) {
		if sub.Name() != "help" {
			all = append(all, documented(sub)...)
		}
	}
	return all
}

func manName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// writeManPage writes the page of one command.
func writeManPage(w io.Writer, cmd *cobra.Command) {
	out := bufio.NewWriter(w)
	defer out.Flush()
	fmt.Fprintf(out, ".TH %s 1 \"\" \"mtwire\" \"User Commands\"\n", strings.ToUpper(roff(manName(cmd))))
	fmt.Fprintf(out, ".SH NAME\n%s \\- %s\n", roff(manName(cmd)), roff(cmd.Short))
	fmt.Fprintln(out, ".SH SYNOPSIS")
	for i, line := range usageLines(cmd) {
		if i > 0 {
			fmt.Fprintln(out, ".br")
		}
		fmt.Fprintf(out, ".B %s\n", roff(line))
	}
	fmt.Fprintln(out, ".SH DESCRIPTION")
	writeManText(out, longOf(cmd))
	if subs := visibleCommands(cmd); len(subs) > 0 {
		fmt.Fprintln(out, ".SH COMMANDS")
		for _, sub := range subs {
			fmt.Fprintf(out, ".TP\n.B %s\n%s\n", roff(sub.Name()), roff(sub.Short))
		}
	}
	fmt.Fprintln(out, ".SH OPTIONS")
	for _, section := range sectionsOf(cmd) {
		if section.title != "" {
			fmt.Fprintf(out, ".SS %s\n", roff(section.title))
		}
		for _, f := range section.flags {
			label, description := flagLabel(f)
			fmt.Fprintf(out, ".TP\n.B %s\n%s\n", roff(label), roff(description))
		}
	}
	if cmd.HasExample() {
		fmt.Fprint(out, ".SH EXAMPLES\n.nf\n")
		for _, line := range exampleLines(cmd) {
			fmt.Fprintln(out, roff(wrapCommand(line, maxHelpWidth-7))) // man's margin
		}
		fmt.Fprintln(out, ".fi")
	}
	writeSeeAlso(out, cmd)
}

// writeManText writes paragraphs. Indented lines stay as they are.
func writeManText(out io.Writer, text string) {
	for i, paragraph := range strings.Split(text, "\n\n") {
		if i > 0 {
			fmt.Fprintln(out, ".PP")
		}
		verbatim := false
		for line := range strings.SplitSeq(strings.Trim(paragraph, "\n"), "\n") {
			indented := line != strings.TrimLeft(line, " \t")
			if indented != verbatim {
				fmt.Fprintln(out, map[bool]string{true: ".nf", false: ".fi"}[indented])
				verbatim = indented
			}
			if line != "" {
				fmt.Fprintln(out, roff(strings.ReplaceAll(line, "\t", "    ")))
			}
		}
		if verbatim {
			fmt.Fprintln(out, ".fi")
		}
	}
}

// writeSeeAlso names the pages of the other commands of the same kind.
func writeSeeAlso(out io.Writer, cmd *cobra.Command) {
	var pages []string
	for _, other := range documented(cmd.Root()) {
		if other != cmd && (other.Parent() == cmd || other == cmd.Parent() || other.Parent() == cmd.Parent()) {
			pages = append(pages, fmt.Sprintf(".BR %s (1)", roff(manName(other))))
		}
	}
	fmt.Fprintf(out, ".SH SEE ALSO\n%s\n", strings.Join(pages, ",\n"))
}

// roff returns text for a man page: no character of it is a request or an escape, and
// a hyphen can be copied to a command line.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
