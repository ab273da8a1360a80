package netx

import (
	"errors"
	"slices"
)

// localErrors mean that this machine has no descriptor, memory, buffer or port for a
// connection, whatever the address is.
var localErrors = append([]error{
	EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL,
}, systemLocalErrors...)

// IsLocal reports whether a connection has failed with err because of this machine.
func IsLocal(err error) bool {
	return slices.ContainsFunc(localErrors, func(local error) bool { return errors.Is(err, local) })
}
