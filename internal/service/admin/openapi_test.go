package admin

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The document has the routes of the server and no others. interop/api holds the answers
// to it.
func TestDocumentHasEveryRoute(t *testing.T) {
	routes := []string{"GET /v1/openapi"}
	for _, r := range (&Server{}).routes() {
		routes = append(routes, r.pattern)
	}
	_, paths, _ := strings.Cut(string(openAPI), "\npaths:\n")
	paths, _, _ = strings.Cut(paths, "\ncomponents:\n")
	var documented []string
	path := ""
	for _, line := range regexp.MustCompile(`(?m)^  (?:(/\S+):|  ([a-z]+):)$`).FindAllStringSubmatch(paths, -1) {
		if line[1] != "" {
			path = line[1]
		} else {
			documented = append(documented, strings.ToUpper(line[2])+" "+path)
		}
	}
	slices.Sort(routes)
	slices.Sort(documented)
	if !slices.Equal(routes, documented) {
		t.Errorf("the server has\n%q\nand the document\n%q", routes, documented)
	}
}
