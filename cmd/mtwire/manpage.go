package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// Manual pages, made of what the help has.
//
// Format: https://man7.org/linux/man-pages/man7/man.7.html

// manCommand returns the command that writes the manual pages.
func manCommand() *cobra.Command {
	var share bool
	cmd := &cobra.Command{
		Use:   "man DIRECTORY",
		Short: "Write manual pages, and completions of shells",
		Long: `Write the manual pages of mtwire and its commands to a directory, such as
/usr/local/share/man/man1: mtwire.1, mtwire-proxy.1 and so on. The directory is made
if it is missing.

With --share it is a share directory, such as /usr/local/share, which gets the pages
and the completions of bash, zsh and fish at their places in it. With the variable
$SOURCE_DATE_EPOCH, the pages have its date. The same program writes the same files.`,
		Example: `  mtwire man man1
  mtwire man --share share`,
		Args: oneArgument("directory"),
		RunE: func(cmd *cobra.Command, args []string) error {
			date, err := sourceDate(os.Getenv("SOURCE_DATE_EPOCH"))
			if err != nil {
				return err
			}
			if !share {
				return writeManPages(cmd.Root(), args[0], date)
			}
			if err := writeCompletions(cmd.Root(), args[0]); err != nil {
				return err
			}
			return writeManPages(cmd.Root(), filepath.Join(args[0], "man", "man1"), date)
		},
	}
	cmd.Flags().BoolVar(&share, "share", false, "write to the places in a share directory, completions as well")
	return cmd
}

// sourceDate returns the date of a time in Unix seconds, in UTC, or "" for "".
//
// Specification: https://reproducible-builds.org/specs/source-date-epoch/
func sourceDate(epoch string) (string, error) {
	if epoch == "" {
		return "", nil
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return "", fmt.Errorf("$SOURCE_DATE_EPOCH: %q is no number of seconds", epoch)
	}
	return time.Unix(seconds, 0).UTC().Format(time.DateOnly), nil
}

// writeCompletions writes the completions of the shells to the places in a share
// directory at which their packages look.
func writeCompletions(root *cobra.Command, share string) error {
	for path, write := range map[string]func(io.Writer) error{
		"bash-completion/completions/mtwire":    func(w io.Writer) error { return root.GenBashCompletionV2(w, true) },
		"zsh/site-functions/_mtwire":            root.GenZshCompletion,
		"fish/vendor_completions.d/mtwire.fish": func(w io.Writer) error { return root.GenFishCompletion(w, true) },
	} {
		var script bytes.Buffer
		if err := write(&script); err != nil {
			return err
		}
		path = filepath.Join(share, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, script.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// writeManPages writes the pages of root and its subcommands, in all depths. They have a
// date, unless it is "".
func writeManPages(root *cobra.Command, dir, date string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, cmd := range documented(root) {
		f, err := os.Create(filepath.Join(dir, manName(cmd)+".1"))
		if err != nil {
			return err
		}
		writeManPage(f, cmd, date)
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
func writeManPage(w io.Writer, cmd *cobra.Command, date string) {
	out := bufio.NewWriter(w)
	defer out.Flush()
	fmt.Fprintf(out, ".TH %s 1 \"%s\" \"mtwire\" \"User Commands\"\n", strings.ToUpper(roff(manName(cmd))), roff(date))
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
