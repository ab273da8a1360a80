package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// A command that a document names, in `code` or in a block of any kind, is one, and has the
// flags that it is named with: also where the block is no example that runs, such as the
// comment of a web server's configuration, or a unit of systemd.
func TestCommandsInDocumentsExist(t *testing.T) {
	var documents []string
	for _, pattern := range []string{"*.md", "docs/*.md", "bench/README.md", "gotd/README.md", "examples/*", "examples/*/*"} {
		found, err := filepath.Glob(filepath.Join("../..", pattern))
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, found...)
	}
	root, tried := rootCommand(), 0
	for _, document := range documents {
		text, err := os.ReadFile(document)
		if err != nil || filepath.Base(document) == "CHANGELOG.md" { // a directory, or the past
			continue
		}
		for _, command := range commandsNamed(string(text)) {
			tried++
			if fault := unknownIn(root, command); fault != "" {
				t.Errorf("%s: %q: there is no %s", document, strings.Join(command, " "), fault)
			}
		}
	}
	if tried < 100 {
		t.Errorf("only %d commands were found", tried)
	}
	for command, want := range map[string]string{
		"link --qr always": "--qr", "user frob": "command frob", "proxy --listen=:1 -v": "", "bench LINK [--raw] [--json]": "",
	} {
		if fault := unknownIn(root, strings.Fields(command)); fault != want {
			t.Errorf("%s: %q", command, fault)
		}
	}
}

// The README names every command, and every one of mtwire user.
func TestTheREADMEHasEveryCommand(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	root := rootCommand()
	user, _, err := root.Find([]string{"user"})
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range append(root.Commands(), user.Commands()...) {
		if named := regexp.MustCompile("`(mtwire (user )?)?" + command.Name() + "[` ]"); !command.Hidden && !named.Match(text) {
			t.Errorf("README.md has no %s", command.CommandPath())
		}
	}
}

// namedCommand matches a command of mtwire up to the end of the code that has it.
var namedCommand = regexp.MustCompile("(?:^|[\\s`/])mtwire (--[a-z][a-z-]*|[a-z]+)((?:\\s[^\n`|;&>)#]*)?)(?:[\n`|;&>)#]|$)")

// commandsNamed returns the words of commands of mtwire in code: what comes behind the
// program's name in `code`, or on a line of a block or of a file that is no Markdown.
func commandsNamed(text string) (commands [][]string) {
	text = strings.ReplaceAll(text, "\\\n", " ")
	block := !strings.Contains(text, "\n```") // no prose
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "```") {
			block = !block
			continue
		}
		spans := []string{line}
		if !block && !strings.HasPrefix(line, "    mtwire ") {
			spans = nil
			for i, span := range strings.Split(line, "`") {
				if i%2 == 1 {
					spans = append(spans, span)
				}
			}
		}
		for _, span := range spans {
			for _, found := range namedCommand.FindAllStringSubmatch(span, -1) {
				commands = append(commands, strings.Fields(found[1]+found[2]))
			}
		}
	}
	return commands
}

// unknownIn returns the command or flag in words that does not exist, or "".
func unknownIn(root *cobra.Command, words []string) string {
	cmd := root
	for _, word := range words {
		word = strings.Trim(word, "[]'\",.:…")
		name, isFlag := strings.CutPrefix(word, "--")
		name, _, _ = strings.Cut(name, "=")
		switch sub, _, err := cmd.Find([]string{word}); {
		case isFlag && name != "help" && cmd.Flags().Lookup(name) == nil && cmd.PersistentFlags().Lookup(name) == nil:
			return "--" + name
		case isFlag || !cmd.HasSubCommands():
		case err != nil || sub == cmd:
			if word != "" && strings.ToLower(word) == word && cmd.ValidateArgs([]string{word}) != nil {
				return "command " + word
			}
		default:
			cmd = sub
		}
	}
	return ""
}
