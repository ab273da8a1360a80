package netx

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// A long text is cut between two characters, a short one stays, and the error stays what it
// is.
func TestBriefErrorsAreShort(t *testing.T) {
	short := fmt.Errorf("short: %w", io.EOF)
	if got := Brief(short); got != short {
		t.Errorf("%v", got)
	}
	if Brief(nil) != nil {
		t.Error("an error of none")
	}
	for shift := range 3 {
		long := fmt.Errorf("%s%s: %w", strings.Repeat("x", shift), strings.Repeat("…", 5000), io.EOF)
		got := Brief(long)
		if len(got.Error()) > maxBriefText+len("…") || !strings.HasSuffix(got.Error(), "……") || !errors.Is(got, io.EOF) {
			t.Errorf("%q", got)
		}
	}
}
