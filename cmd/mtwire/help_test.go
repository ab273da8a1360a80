package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/pflag"
)

// The help of every command fits the width, has an example, and names of values that
// are no types of Go.
func TestHelpFitsTheWidth(t *testing.T) {
	goTypes := regexp.MustCompile(` --[a-z-]+ (?:string|strings|int|ints|float|duration|bool|uint16|int16|value)\b`)
	for _, cmd := range documented(rootCommand()) {
		for _, width := range []int{80, 60, 40} {
			var help strings.Builder
			if err := printHelp(&help, cmd, width); err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(help.String()) {
				line = strings.TrimSuffix(line, "\n")
				words := strings.Fields(line)
				// A word that is longer, such as a link, is not broken: nor is a line
				// of a script.
				longest := 0
				for _, word := range words {
					longest = max(longest, len(word))
				}
				if utf8.RuneCountInString(line) > width && !(width < 80 && (longest > width/2 || strings.HasPrefix(line, "  "))) {
					t.Errorf("%s, %d columns: %q", cmd.CommandPath(), width, line)
				}
			}
			if width == 80 && cmd.Name() != "completion" && !(strings.Contains(help.String(), "\nExamples:\n") && strings.Contains(help.String(), "\n  mtwire ")) {
				t.Errorf("%s has no example", cmd.CommandPath())
			}
			if typed := goTypes.FindString(help.String()); typed != "" {
				t.Errorf("%s: %s", cmd.CommandPath(), typed)
			}
		}
	}
}

// Every flag of mtwire proxy is in a group, and every group has flags.
func TestFlagsAreInGroups(t *testing.T) {
	cmd := proxyCommand()
	grouped := map[string]bool{"help": true}
	for _, section := range sectionsOf(cmd) {
		for _, f := range section.flags {
			if section.title != otherFlags {
				grouped[f.Name] = true
			}
		}
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !grouped[f.Name] {
			t.Errorf("--%s is in no group of help.go", f.Name)
		}
	})
}

func TestCommandsOfExamplesAreContinued(t *testing.T) {
	for want, line := range map[string]string{
		"  mtwire link show \\\n      'tg://proxy?server=203.0.113.1'":     "mtwire link show 'tg://proxy?server=203.0.113.1'",
		"  mtwire proxy --dc 2=127.0.0.1:1 \\\n      --dc '*=127.0.0.1:1'": "mtwire proxy --dc 2=127.0.0.1:1 --dc '*=127.0.0.1:1'",
		"  mtwire demo": "mtwire demo",
		"  mtwire proxy --listen :443 \\\n      --domain www.example.org": "mtwire proxy --listen :443 --domain www.example.org",
	} {
		if got := wrapCommand(line, 40); got != want {
			t.Errorf("%q", got)
		}
	}
}

// Manual pages have every flag, and no line that is a request by mistake.
func TestManualPages(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man1")
	root := rootCommand()
	root.SetArgs([]string{"man", dir})
	if err := root.Execute(); err != nil {
		t.Fatal(err)
	}
	request := regexp.MustCompile(`^\.(?:TH|SH|SS|PP|TP|B|BR|br|nf|fi)(?: |$)`)
	for _, cmd := range documented(root) {
		text, err := os.ReadFile(filepath.Join(dir, strings.ReplaceAll(cmd.CommandPath(), " ", "-")+".1"))
		if err != nil {
			t.Error(err)
			continue
		}
		for line := range strings.SplitSeq(string(text), "\n") {
			if (strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'")) && !request.MatchString(line) {
				t.Errorf("%s: %q", cmd.CommandPath(), line)
			}
		}
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if option := roff("--" + f.Name); !f.Hidden && !strings.Contains(string(text), option) {
				t.Errorf("%s does not have --%s", cmd.CommandPath(), f.Name)
			}
		})
	}
	if page := fmt.Sprint(roff(".x\n'y\\n --z")); page != `\&.x`+"\n"+`\&'y\en \-\-z` {
		t.Error(page)
	}
}

// A flag that a document names in `code` is one of a command.
func TestDocumentsNameFlagsThatExist(t *testing.T) {
	known := make(map[string]bool)
	for _, cmd := range allCommands(rootCommand()) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) { known[f.Name] = true })
	}
	documents, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(documents) == 0 {
		t.Fatalf("%v, %v", documents, err)
	}
	for _, document := range append(documents, "../../README.md") {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range regexp.MustCompile("`--([a-z][a-z-]*)").FindAllSubmatch(text, -1) {
			if name := string(found[1]); !known[name] {
				t.Errorf("%s: there is no flag --%s", document, name)
			}
		}
	}
}
