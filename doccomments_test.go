package mtwire_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Everything that a public package exports has a comment: functions and methods, types,
// and constants and variables, where the comment of a group counts.
func TestExportedThingsHaveComments(t *testing.T) {
	directories := make(map[string]bool)
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch name := entry.Name(); {
		case err != nil:
			return err
		case !entry.IsDir():
			if strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
				directories[filepath.Dir(path)] = true
			}
		case name == "internal" || name == "cmd" || name == "examples" || name == "faults" || name == "testdata" ||
			path != "." && (strings.HasPrefix(name, ".") || hasModule(path) && name != "gotd"):
			return fs.SkipDir
		}
		return nil
	})
	if err != nil || len(directories) < 13 {
		t.Fatalf("%v, %v", directories, err)
	}
	for directory := range directories {
		paths, err := filepath.Glob(filepath.Join(directory, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			for _, declared := range file.Decls {
				for _, name := range uncommented(declared) {
					if file.Name.Name != "main" {
						t.Errorf("%s: %s has no comment", path, name)
					}
				}
			}
		}
	}
}

// uncommented returns the exported names of a declaration that have no comment.
func uncommented(declared ast.Decl) (names []string) {
	switch d := declared.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && d.Doc == nil && (d.Recv == nil || exportedReceiver(d.Recv)) {
			return []string{d.Name.Name}
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && s.Doc == nil && d.Doc == nil {
					names = append(names, s.Name.Name)
				}
			case *ast.ValueSpec:
				if s.Names[0].IsExported() && s.Doc == nil && s.Comment == nil && d.Doc == nil {
					names = append(names, s.Names[0].Name)
				}
			}
		}
	}
	return names
}

// exportedReceiver reports whether a method is one of an exported type.
func exportedReceiver(receiver *ast.FieldList) bool {
	kind := receiver.List[0].Type
	if star, ok := kind.(*ast.StarExpr); ok {
		kind = star.X
	}
	if indexed, ok := kind.(*ast.IndexExpr); ok {
		kind = indexed.X
	}
	name, ok := kind.(*ast.Ident)
	return ok && name.IsExported()
}

// hasModule reports whether a directory is a module of its own.
func hasModule(directory string) bool {
	_, err := os.Stat(filepath.Join(directory, "go.mod"))
	return err == nil
}
