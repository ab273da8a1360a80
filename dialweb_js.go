package mtwire

import (
	"context"
	"errors"
	"net"

	"github.com/mtwire/mtwire/webproxy"
)

// dialWEB returns an error: a browser does not let a page read another site's.
func dialWEB(context.Context, webproxy.Link, *DialConfig) (net.Conn, error) {
	return nil, errors.New("a WEB proxy cannot be reached from a browser's page")
}

func retryableWEB(error) (retry, ok bool) { return false, false }
