package process

import (
	"os"
	"path/filepath"
)

// RemoveCgroups removes a tree of cgroups without processes, the innermost first.
func RemoveCgroups(path string) {
	entries, _ := os.ReadDir(path)
	for _, entry := range entries {
		if entry.IsDir() {
			RemoveCgroups(filepath.Join(path, entry.Name()))
		}
	}
	os.Remove(path)
}
