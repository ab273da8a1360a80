package process

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// LoopbackUp brings lo up, and checks that no other interface is up: this process is in a
// network namespace of its own.
func LoopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("bringing lo up: %w", err)
	}
	all, err := net.Interfaces()
	if err != nil {
		return err
	}
	for _, i := range all {
		if i.Name != "lo" && i.Flags&net.FlagUp != 0 {
			return fmt.Errorf("interface %s is up: this is not a new network namespace", i.Name)
		}
	}
	return nil
}
