package upgrade

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A FIFO in the place of the note, or of the program that is kept, whose other end no process
// has open, does not hang a start: it is none of ours, and the start goes on.
func TestFIFOsDoNotHangAStart(t *testing.T) {
	own, err := digestOf(programOf(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{trialName, previousName} {
		dir := t.TempDir()
		if name == previousName {
			if err := writeTrial(dir, &trial{New: own, Previous: "another", Crashed: true}); err != nil {
				t.Fatal(err)
			}
		}
		if err := unix.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		FallBack(dir, "/bin/mtwire", slog.New(slog.NewTextHandler(&text, nil)))
		if !strings.Contains(text.String(), errNoFile.Error()) {
			t.Errorf("%s: %s", name, text.String())
		}
		EndTrial(dir)
	}
}

// Notes that a process was writing when it was killed are removed, and a note that was written is
// not.
func TestBegunNotesAreRemoved(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{trialName + "-123", trialName, previousName} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	removeBegun(dir)
	var names []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if !slices.Equal(names, []string{previousName, trialName}) {
		t.Errorf("%q", names)
	}
}
