package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	module = "github.com/mtwire/mtwire"
	// hookDir is the directory of package hook in the instrumented module. It
	// exists in the overlay alone.
	hookDir = "internal/calltracehook"
)

// function is a function declaration or literal that has a hook.
type function struct {
	pkg  string // import path
	name string // as in a stack trace, without the package
	file string // path in the module
	line int
}

// instrumenter makes an overlay for go build.
type instrumenter struct {
	root, dir string // of the module, and of the instrumented files
	functions []function
	Replace   map[string]string // file to instrumented file, as go build reads it
}

// build builds ./cmd/mtwire with a hook at the start of every function of the
// module. It returns the binary, which is in dir, and the functions by the
// numbers in their hooks. Generated files and assembly have no hooks.
func build(dir string) (binary string, functions []function, err error) {
	root, err := goCommand("", "list", "-m", "-f", "{{.Dir}}", module)
	if err != nil {
		return "", nil, err
	}
	in := &instrumenter{root: root, dir: dir, Replace: map[string]string{
		filepath.Join(root, hookDir, "hook.go"): filepath.Join(root, "tools", "calltrace", "hook", "hook.go"),
	}}
	files, err := goCommand(root, "list", "-deps", "-f", `{{if .Module}}{{if .Module.Main}}{{$p := .}}`+
		`{{range .GoFiles}}{{$p.ImportPath}} {{$p.Dir}}/{{.}}{{"\n"}}{{end}}{{end}}{{end}}`, "./cmd/mtwire")
	if err != nil {
		return "", nil, err
	}
	for line := range strings.Lines(files) {
		if pkg, path, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			if err := in.instrument(pkg, filepath.FromSlash(path)); err != nil {
				return "", nil, err
			}
		}
	}
	overlay, err := json.Marshal(in)
	if err != nil {
		return "", nil, err
	}
	name := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(name, overlay, 0o600); err != nil {
		return "", nil, err
	}
	binary = filepath.Join(dir, "mtwire")
	_, err = goCommand(root, "build", "-overlay", name, "-o", binary, "./cmd/mtwire")
	return binary, in.functions, err
}

// instrument puts a copy of a file with hooks into the overlay. Its functions
// are at the same lines as before.
func (in *instrumenter) instrument(pkg, path string) error {
	source, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil || ast.IsGenerated(file) {
		return err
	}
	short, err := filepath.Rel(in.root, path)
	if err != nil {
		return err
	}
	short = filepath.ToSlash(short)

	var out strings.Builder
	copied := 0 // bytes of source
	insert := func(at int, text string) {
		out.Write(source[copied:at])
		out.WriteString(text)
		copied = at
	}
	insert(files.Position(file.Name.End()).Offset, fmt.Sprintf("; import calltracehook %q", module+"/"+hookDir))
	hook := func(name string, body *ast.BlockStmt) {
		start := files.Position(body.Lbrace)
		insert(start.Offset+1, fmt.Sprintf("calltracehook.Enter(%d);", len(in.functions)))
		in.functions = append(in.functions, function{pkg, name, short, start.Line})
	}
	for _, decl := range file.Decls {
		outer, literals := "glob.", 0
		if f, ok := decl.(*ast.FuncDecl); ok && f.Body != nil {
			outer = f.Name.Name
			if f.Recv != nil {
				outer = fmt.Sprintf("(%s).%s", types.ExprString(f.Recv.List[0].Type), outer)
			}
			hook(outer, f.Body)
		}
		ast.Inspect(decl, func(n ast.Node) bool {
			if f, ok := n.(*ast.FuncLit); ok {
				literals++
				hook(fmt.Sprintf("%s.func%d", outer, literals), f.Body)
			}
			return true
		})
	}
	insert(len(source), "\nvar _ = calltracehook.Enter\n") // in case there is no function
	in.Replace[path] = filepath.Join(in.dir, strings.ReplaceAll(short, "/", "_"))
	return os.WriteFile(in.Replace[path], []byte(out.String()), 0o600)
}

// goCommand runs the go command in dir and returns its output.
func goCommand(dir string, args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w", args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}
