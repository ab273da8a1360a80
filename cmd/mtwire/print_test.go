package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/mtwire/mtwire/mtproxy"
)

func secretOf(t *testing.T, text string) mtproxy.Secret {
	secret, err := mtproxy.ParseSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

func TestFilesPipesAndDevicesAreNotTerminals(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, w := range []io.Writer{f, w, null, &bytes.Buffer{}} {
		if isTerminal(w) || terminalOf(w) != nil {
			t.Errorf("%T is a terminal", w)
		}
	}
}

// An error is one line with the program's name. Its exit code is 2, or the code of an
// exitError, which may be without a line.
func TestErrorsHaveALineAndAnExitCode(t *testing.T) {
	problem := errors.New("problem")
	for _, test := range []struct {
		err  error
		code int
		want string
	}{
		{problem, 2, "mtwire: problem\n"},
		{&exitError{code: 1, err: problem}, 1, "mtwire: problem\n"},
		{&exitError{code: 1}, 1, ""},
		{fmt.Errorf("wrapped: %w", &exitError{code: 3, err: problem}), 3, "mtwire: problem\n"},
	} {
		var printed bytes.Buffer
		if code := printError(&printed, test.err); code != test.code || printed.String() != test.want {
			t.Errorf("%v: exit code %d, %q", test.err, code, &printed)
		}
	}
}
