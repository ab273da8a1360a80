package upgrade

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
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
