package netx

import (
	"errors"
	"io"
	"net"
	"testing"

	"github.com/mtwire/mtwire/internal/loopback"
)

func TestCloseWriteEndsOneDirection(t *testing.T) {
	a, b, err := loopback.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	defer b.Close()
	if err := CloseWrite(a); err != nil {
		t.Fatal(err)
	}
	if err := read(b); err != io.EOF {
		t.Errorf("the peer reads %v, want EOF", err)
	}
	checkReadable(t, a, b)
}

func TestCloseWriteRefusesAConnectionWithoutHalfClose(t *testing.T) {
	a, b := net.Pipe()
	if err := CloseWrite(a); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
	checkReadable(t, a, b)
}
