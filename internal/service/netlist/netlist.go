// Package netlist is lists of networks: clients that may connect, and clients that may
// not, by their addresses.
//
//	netlist.go  a list, and its file format
//	ranges.go   ranges of addresses as networks
//	access.go   an allow list and a block list in force
package netlist

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"unicode/utf8"

	"github.com/gaissmai/bart"
)

const (
	// MaxFile limits the size of a file, in bytes: more than a million networks.
	MaxFile = 32 << 20
	// maxLine limits the length of a line, in bytes.
	maxLine = 4096
)

// List is a set of networks. It does not change once it is read; its methods may be
// called concurrently. Nil is the empty list.
type List struct{ table bart.Lite }

// New returns a list of networks.
func New(networks ...netip.Prefix) *List {
	l := new(List)
	for _, network := range networks {
		l.add(network)
	}
	return l
}

// add adds a network. One of IPv4-mapped IPv6 addresses is the network of the IPv4
// addresses; a larger one that has all of those in it contains no IPv4 address.
func (l *List) add(network netip.Prefix) {
	if addr := network.Addr(); addr.Is4In6() && network.Bits() >= mappedBits {
		network = netip.PrefixFrom(addr.Unmap(), network.Bits()-mappedBits)
	}
	l.table.Insert(network.Masked())
}

// mappedBits is the length of ::ffff:0:0/96, the IPv4-mapped addresses.
const mappedBits = 96

// Contains reports whether addr is in one of the networks. An IPv4-mapped IPv6 address
// is the IPv4 address, and a zone makes no difference. An invalid address is in none.
func (l *List) Contains(addr netip.Addr) bool {
	return l != nil && addr.IsValid() && l.table.Contains(addr.Unmap().WithZone(""))
}

// Len returns the number of different networks.
func (l *List) Len() int {
	if l == nil {
		return 0
	}
	return l.table.Size()
}

// Load reads several files into one list: see Read. readFile is os.ReadFile, or the like.
func Load(readFile func(path string) ([]byte, error), paths ...string) (*List, error) {
	l := new(List)
	var failed []error
	for _, path := range paths {
		text, err := readFile(path)
		if err == nil {
			err = l.read(path, bytes.NewReader(text))
		}
		failed = append(failed, err)
	}
	return l, errors.Join(failed...)
}

// LineError is what is wrong with a line of a file.
type LineError struct {
	File         string
	Line, Column int // from 1; a column is a character
	Err          error
}

// Error returns FILE:LINE:COLUMN: what is wrong.
func (e *LineError) Error() string {
	return fmt.Sprintf("%s:%d:%d: %v", e.File, e.Line, e.Column, e.Err)
}

// Unwrap returns Err.
func (e *LineError) Unwrap() error { return e.Err }

// Read reads a list of at most MaxFile bytes, a plain list of networks or a netset of
// FireHOL. file is its name for errors, which are joined, and a *LineError each if they
// are about a line; after 20 of them it is not read on. A line has one of
//
//	192.0.2.1, 2001:db8::1        an address
//	192.0.2.0/24, 2001:db8::/32   a network; bits behind its length make no difference
//	192.0.2.7-192.0.2.99          a range, both ends included
//
// and may end in a comment, which begins with # or ;. Empty lines and lines that have
// only a comment are skipped.
//
// Format: https://github.com/firehol/blocklist-ipsets/wiki/Extending-update-ipsets
func Read(file string, r io.Reader) (*List, error) {
	l := new(List)
	return l, l.read(file, r)
}

func (l *List) read(file string, r io.Reader) error {
	limited := &io.LimitedReader{R: r, N: MaxFile + 1}
	lines := bufio.NewScanner(limited)
	lines.Buffer(make([]byte, 0, maxLine), maxLine)
	var wrong []error
	number := 0
	for len(wrong) < maxLineErrors && lines.Scan() {
		number++
		text := lines.Bytes()
		if number == 1 {
			text = bytes.TrimPrefix(text, []byte("\ufeff"))
		}
		if i := bytes.IndexAny(text, "#;"); i >= 0 {
			text = text[:i]
		}
		value := bytes.TrimSpace(text)
		if len(value) == 0 {
			continue
		}
		if err := l.addText(string(value)); err != nil {
			wrong = append(wrong, &LineError{file, number, 1 + utf8.RuneCount(text[:bytes.Index(text, value)]), err})
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		wrong = append(wrong, &LineError{file, number + 1, 1, fmt.Errorf("the line has more than %d bytes", maxLine)})
	case err != nil:
		wrong = append(wrong, fmt.Errorf("%s: %w", file, err))
	case limited.N == 0:
		wrong = append(wrong, fmt.Errorf("%s: the file has more than %d MiB", file, MaxFile>>20))
	case len(wrong) == maxLineErrors:
		wrong = append(wrong, fmt.Errorf("%s: too many errors, the rest was not read", file))
	}
	return errors.Join(wrong...)
}

// maxLineErrors limits how many lines of a file are reported.
const maxLineErrors = 20

// addText adds what a line has.
func (l *List) addText(text string) error {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		l.add(netip.PrefixFrom(addr, addr.BitLen()))
		return nil
	}
	if network, err := netip.ParsePrefix(text); err == nil {
		l.add(network)
		return nil
	}
	if first, last, ok := parseRange(text); ok {
		return addRange(first, last, l.add)
	}
	if len(text) > maxQuoted {
		text = text[:maxQuoted] + "..."
	}
	return fmt.Errorf("%q is no address, network or range: want such as 192.0.2.1, 2001:db8::/32 or 192.0.2.7-192.0.2.99", text)
}

// maxQuoted limits what an error quotes of a line, in bytes.
const maxQuoted = 60
