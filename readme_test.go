package mtwire_test

import (
	"os"
	"strings"
	"testing"
)

// The README shows the main functions of the examples, which are compiled.
func TestREADMEShowsTheExamples(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"examples/client/main.go", "examples/server/main.go"} {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		_, body, _ := strings.Cut(string(source), "func main() {\n")
		if !strings.Contains(string(readme), "func main() {\n"+body) {
			t.Errorf("README.md does not show main of %s", name)
		}
	}
}
