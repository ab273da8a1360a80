package netx

import (
	"errors"
	"net"
	"slices"
	"strings"
)

// localErrors mean that this machine has no descriptor, memory, buffer or port for a
// connection, whatever the address is.
var localErrors = append([]error{
	EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL,
}, systemLocalErrors...)

// IsLocal reports whether a connection, or the lookup of its host name, has failed with err
// because of this machine.
func IsLocal(err error) bool {
	return slices.ContainsFunc(localErrors, func(local error) bool { return errors.Is(err, local) || failsLookup(err, local) })
}

// failsLookup reports whether err is that of a lookup which has failed with code, such as for want
// of a descriptor for the socket to the resolver: a *net.DNSError keeps the text of it alone. The
// system's resolver, with cgo, has nothing in front of it.
func failsLookup(err, code error) bool {
	var lookup *net.DNSError
	return errors.As(err, &lookup) && (lookup.Err == code.Error() || strings.HasSuffix(lookup.Err, ": "+code.Error()))
}
