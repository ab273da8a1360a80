package faults_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// namespace is a network namespace. One thread is in it for good; the sockets
// that this thread opens belong to it.
type namespace struct {
	work chan func()
	done chan struct{}
}

// newNamespace fails with unix.EPERM if this user may not make a namespace.
func newNamespace() (*namespace, error) {
	n := &namespace{work: make(chan func()), done: make(chan struct{})}
	created := make(chan error)
	go func() {
		defer close(n.done)
		runtime.LockOSThread() // never unlocked, so the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = bringUp("lo", netip.Addr{})
		}
		created <- err
		if err != nil {
			return
		}
		for f := range n.work {
			f()
		}
	}()
	if err := <-created; err != nil {
		return nil, err
	}
	return n, nil
}

// do calls f on the namespace's thread, one call at a time.
func (n *namespace) do(f func()) {
	done := make(chan struct{})
	n.work <- func() { f(); close(done) }
	<-done
}

func (n *namespace) close() {
	close(n.work)
	<-n.done
}

func (n *namespace) listen(t *testing.T, address string) (ln net.Listener) {
	t.Helper()
	var err error
	n.do(func() { ln, err = net.Listen("tcp", address) })
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// dial is a DialContext for IP addresses: to resolve a name, package net would
// start a goroutine on a thread outside of the namespace.
func (n *namespace) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	n.do(func() { conn, err = new(net.Dialer).DialContext(ctx, network, address) })
	return conn, err
}

// bringUp brings an interface of this thread's namespace up. Before, it assigns
// address, in a /24 network, unless address is invalid.
func bringUp(name string, address netip.Addr) error {
	if address.IsValid() {
		err := configure(name, unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(address.AsSlice()) })
		if err == nil {
			err = configure(name, unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr([]byte{255, 255, 255, 0}) })
		}
		if err != nil {
			return err
		}
	}
	return setFlags(name, unix.IFF_UP)
}

func setFlags(name string, flags uint16) error {
	return configure(name, unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(flags); return nil })
}

func configure(name string, request uint, set func(*unix.Ifreq) error) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq(name)
	if err == nil {
		err = set(r)
	}
	if err == nil {
		err = unix.IoctlIfreq(fd, request, r)
	}
	if err != nil {
		return fmt.Errorf("interface %s: %w", name, err)
	}
	return nil
}

// hop is a link between two namespaces that loses and delays packets.
type hop struct {
	a, b    *namespace
	ends    [2]*os.File // TUN interfaces
	running sync.WaitGroup

	loss  atomic.Int64 // in packets per thousand
	delay atomic.Int64 // one way, in nanoseconds
	lost  atomic.Int64 // packets lost so far
}

const (
	interfaceName   = "hop%d"
	maxPacketLength = 1 << 16 // bytes
)

// newHop links a, with address 10.number.0.1, and b, with 10.number.0.2.
func newHop(a, b *namespace, number byte) (*hop, error) {
	h := &hop{a: a, b: b}
	for i, n := range []*namespace{a, b} {
		var err error
		n.do(func() {
			name := fmt.Sprintf(interfaceName, number)
			if h.ends[i], err = newTUN(name); err == nil {
				err = bringUp(name, netip.AddrFrom4([4]byte{10, number, 0, byte(i + 1)}))
			}
		})
		if err != nil {
			return nil, errors.Join(err, h.close())
		}
	}
	h.running.Go(func() { h.forward(h.ends[1], h.ends[0]) })
	h.running.Go(func() { h.forward(h.ends[0], h.ends[1]) })
	return h, nil
}

// newTUN makes a TUN interface in this thread's namespace. Read and Write of the
// file move one packet each.
// Documentation: https://docs.kernel.org/networking/tuntap.html
func newTUN(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	r, err := unix.NewIfreq(name)
	if err == nil {
		r.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, r)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("interface %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), "tun"), nil
}

func (h *hop) close() error {
	for _, end := range h.ends {
		if end != nil {
			end.Close()
		}
	}
	h.running.Wait()
	return nil
}

// cut brings a's end of the link down.
func (h *hop) cut(t *testing.T, number byte) {
	t.Helper()
	h.setFlags(t, number, 0)
}

// restore brings a's end of the link up again.
func (h *hop) restore(t *testing.T, number byte) {
	t.Helper()
	h.setFlags(t, number, unix.IFF_UP)
}

func (h *hop) setFlags(t *testing.T, number byte, flags uint16) {
	t.Helper()
	var err error
	h.a.do(func() { err = setFlags(fmt.Sprintf(interfaceName, number), flags) })
	if err != nil {
		t.Fatal(err)
	}
}

// forward moves packets from src to dst, in order, until the hop is closed.
func (h *hop) forward(dst, src *os.File) {
	queue := make(chan chunk, 4096)
	h.running.Go(func() {
		for packet := range queue {
			time.Sleep(time.Until(packet.due))
			dst.Write(packet.bytes) // fails while the interface is down, which loses the packet
		}
	})
	defer close(queue)
	buffer := make([]byte, maxPacketLength)
	for {
		n, err := src.Read(buffer)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil { // the interface is down
			time.Sleep(time.Millisecond)
			continue
		}
		if rand.Int64N(1000) < h.loss.Load() || !isIPv4(buffer[:n]) {
			h.lost.Add(1)
			continue
		}
		select {
		case queue <- chunk{append([]byte(nil), buffer[:n]...), time.Now().Add(time.Duration(h.delay.Load()))}:
		default:
			h.lost.Add(1) // the queue is full, as a router's may be
		}
	}
}

func isIPv4(packet []byte) bool { return len(packet) >= 20 && packet[0]>>4 == 4 }

// lossyNetworks are the network namespaces of clients, a proxy and a data
// centre, in a row.
type lossyNetworks struct {
	clients *namespace
	near    *hop // between clients and proxy
	far     *hop // between proxy and data centre
}

// newLossyNetworks returns nil, after reportNotRun, if this system or user cannot
// have them.
func newLossyNetworks(t *testing.T) *lossyNetworks {
	t.Helper()
	nets := &lossyNetworks{}
	var spaces [3]*namespace
	for i := range spaces {
		n, err := newNamespace()
		if err != nil {
			reportNotRun(t, "networks that lose packets", fmt.Errorf("no network namespace: %w", err))
			return nil
		}
		t.Cleanup(n.close)
		spaces[i] = n
	}
	nets.clients = spaces[0]
	for i, h := range []**hop{&nets.near, &nets.far} {
		var err error
		if *h, err = newHop(spaces[i], spaces[i+1], byte(i+1)); err != nil {
			reportNotRun(t, "networks that lose packets", err)
			return nil
		}
		t.Cleanup(func() { (*h).close() })
	}
	return nets
}
