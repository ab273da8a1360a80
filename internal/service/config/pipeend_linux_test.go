package config

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// A pipe that its writer closes without a byte is given up then, and not when the time is over: the
// command of a shell's <(command) has failed. It may have ended before the pipe is opened.
func TestAPipeThatIsClosedWithoutAByteIsGivenUp(t *testing.T) {
	failed := func(path string) {
		t.Helper()
		if _, err := readPipe(path, time.Minute); err == nil || !strings.Contains(err.Error(), path+": ") || !strings.Contains(err.Error(), "without a byte") {
			t.Error(err)
		}
	}
	path := fifo(t)
	go func() {
		writer, err := os.OpenFile(path, os.O_WRONLY, 0) // waits for the reader
		if err != nil {
			t.Error(err)
		}
		writer.Close()
	}()
	failed(path)

	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	writer.Close()
	failed(fmt.Sprintf("/dev/fd/%d", reader.Fd()))
}
