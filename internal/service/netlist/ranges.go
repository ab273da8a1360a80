package netlist

import (
	"errors"
	"math/bits"
	"net/netip"
	"strings"
)

// parseRange parses FIRST-LAST.
func parseRange(text string) (first, last netip.Addr, ok bool) {
	a, b, found := strings.Cut(text, "-")
	if !found {
		return first, last, false
	}
	first, err := netip.ParseAddr(strings.TrimSpace(a))
	if err != nil || first.Zone() != "" {
		return first, last, false
	}
	last, err = netip.ParseAddr(strings.TrimSpace(b))
	return first.Unmap(), last.Unmap(), err == nil && last.Zone() == ""
}

// addRange calls add for the fewest networks that are exactly the addresses from first
// to last: at most two for each bit of an address.
func addRange(first, last netip.Addr, add func(netip.Prefix)) error {
	switch {
	case first.BitLen() != last.BitLen():
		return errors.New("the ends of the range are of different families")
	case last.Less(first):
		return errors.New("the range ends before it begins")
	}
	for {
		// The largest network that begins at first and ends at last or before.
		length := first.BitLen() - trailingZeros(first)
		for lastOf(first, length).Compare(last) > 0 {
			length++
		}
		add(netip.PrefixFrom(first, length))
		if end := lastOf(first, length); end == last {
			return nil
		} else {
			first = end.Next()
		}
	}
}

// trailingZeros returns the number of zero bits at the end of an address.
func trailingZeros(addr netip.Addr) (n int) {
	b := addr.AsSlice()
	for i := len(b) - 1; i >= 0; i-- {
		n += bits.TrailingZeros8(b[i])
		if b[i] != 0 {
			break
		}
	}
	return n
}

// lastOf returns the last address of the network of a length that begins at first.
func lastOf(first netip.Addr, length int) netip.Addr {
	b := first.AsSlice()
	for i := range b {
		switch fixed := length - i*8; {
		case fixed <= 0:
			b[i] = 0xff
		case fixed < 8:
			b[i] |= 0xff >> fixed
		}
	}
	addr, _ := netip.AddrFromSlice(b)
	return addr
}
