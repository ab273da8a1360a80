package mtwire_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/mtwire/mtwire"

// readArchitecture reads the import block of docs/architecture.md, a fenced block
// that begins with "imports". A line is
//
//	package, package ─> import, import
//
// where dir/{a,b} stands for dir/a and dir/b, "." for the root package, and
// imports are packages of this module or full paths of others; the standard
// library is always allowed and written "std". A line that begins with a space
// continues the one before.
func readArchitecture(t *testing.T) map[string][]string {
	t.Helper()
	page, err := os.ReadFile("docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(page), "```imports\n")
	block, _, closed := strings.Cut(block, "\n```")
	if !found || !closed {
		t.Fatal("docs/architecture.md has no import block")
	}
	allowed := make(map[string][]string)
	for line := range strings.SplitSeq(strings.ReplaceAll(block, "\n ", " "), "\n") {
		packages, imports, ok := strings.Cut(line, "─>")
		if !ok {
			t.Fatalf("docs/architecture.md: no arrow in %q", line)
		}
		for _, pkg := range expandBraces(packages) {
			if _, twice := allowed[pkg]; twice {
				t.Fatalf("docs/architecture.md: two lines for %s", pkg)
			}
			allowed[pkg] = slices.DeleteFunc(expandBraces(imports), func(name string) bool { return name == "std" })
		}
	}
	return allowed
}

// expandBraces splits a list at its commas outside braces and expands the
// braces.
func expandBraces(list string) (names []string) {
	depth := 0
	items := strings.FieldsFunc(list, func(r rune) bool {
		switch r {
		case '{':
			depth++
		case '}':
			depth--
		}
		return r == ',' && depth == 0
	})
	for _, item := range items {
		item = strings.TrimSpace(item)
		prefix, rest, braces := strings.Cut(item, "{")
		if !braces {
			names = append(names, item)
			continue
		}
		for name := range strings.SplitSeq(strings.TrimSuffix(rest, "}"), ",") {
			names = append(names, prefix+strings.TrimSpace(name))
		}
	}
	return names
}

// Imports run downwards: docs/architecture.md has every import that is not of the
// standard library, and no other.
func TestImportsRunDownwards(t *testing.T) {
	allowed := readArchitecture(t)
	used := make(map[string]map[string]bool)
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			base := entry.Name()
			// Modules of their own have their own rules.
			if slices.Contains([]string{"bench", "gotd", "interop", "tools"}, name) || base == "testdata" || strings.HasPrefix(base, ".") && name != "." {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		dir := path.Dir(filepath.ToSlash(name))
		if _, ok := allowed[dir]; !ok {
			t.Errorf("package %s is not in the import block of docs/architecture.md", dir)
			return nil
		}
		if used[dir] == nil {
			used[dir] = make(map[string]bool)
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			imported := strings.Trim(spec.Path.Value, `"`)
			if imported == module {
				imported = "."
			}
			own, ours := strings.CutPrefix(imported, module+"/")
			foreign := strings.Contains(strings.Split(imported, "/")[0], ".")
			if !ours && !foreign {
				continue
			}
			used[dir][own] = true
			if !slices.Contains(allowed[dir], own) {
				t.Errorf("%s imports %s, which docs/architecture.md does not allow", name, own)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir, imports := range allowed {
		if used[dir] == nil {
			t.Errorf("docs/architecture.md has package %s, which does not exist", dir)
			continue
		}
		for _, imported := range imports {
			if !used[dir][imported] {
				t.Errorf("docs/architecture.md lets %s import %s, which it does not", dir, imported)
			}
		}
	}
}
