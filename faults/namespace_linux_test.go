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

// namespace is a network of its own, on a thread that is in it for good. What
// is dialled and listened to there belongs to it.
type namespace struct {
	work chan func()
	done chan struct{}
}

// newNamespace fails with unix.EPERM where this user may not make one.
func newNamespace() (*namespace, error) {
	n := &namespace{work: make(chan func()), done: make(chan struct{})}
	made := make(chan error)
	go func() {
		defer close(n.done)
		runtime.LockOSThread() // and never unlocked: the thread ends here as well
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = setUp("lo", netip.Addr{})
		}
		made <- err
		if err != nil {
			return
		}
		for do := range n.work {
			do()
		}
	}()
	if err := <-made; err != nil {
		return nil, err
	}
	return n, nil
}

// do calls f in the namespace, one call at a time.
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

// dial is a DialContext. The address is one of digits, so the net package
// starts no goroutine that would be outside.
func (n *namespace) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	n.do(func() { conn, err = new(net.Dialer).DialContext(ctx, network, address) })
	return conn, err
}

// setUp gives an interface of this thread's namespace an address, if one is
// named, in a network of 256, and takes it up.
func setUp(name string, address netip.Addr) error {
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

// hop joins two namespaces by a link of packets, which it loses and delays.
type hop struct {
	a, b    *namespace
	ends    [2]*os.File // the interfaces
	running sync.WaitGroup

	loss  atomic.Int64 // packets in a thousand
	delay atomic.Int64 // nanoseconds, one way
	lost  atomic.Int64 // packets, so far
}

const (
	interfaceName = "hop%d"
	longestPacket = 1 << 16
)

// join makes the hop. a's address is 10.number.0.1, and b's 10.number.0.2.
func join(a, b *namespace, number byte) (*hop, error) {
	h := &hop{a: a, b: b}
	for i, n := range []*namespace{a, b} {
		var err error
		n.do(func() {
			name := fmt.Sprintf(interfaceName, number)
			if h.ends[i], err = newInterface(name); err == nil {
				err = setUp(name, netip.AddrFrom4([4]byte{10, number, 0, byte(i + 1)}))
			}
		})
		if err != nil {
			return nil, errors.Join(err, h.close())
		}
	}
	h.running.Go(func() { h.pass(h.ends[1], h.ends[0]) })
	h.running.Go(func() { h.pass(h.ends[0], h.ends[1]) })
	return h, nil
}

// newInterface makes one of which packets are read, in this thread's namespace.
func newInterface(name string) (*os.File, error) {
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

// cut takes the client's end of the link down, or up again.
func (h *hop) cut(t *testing.T, number byte, down bool) {
	t.Helper()
	flags := uint16(unix.IFF_UP)
	if down {
		flags = 0
	}
	var err error
	h.a.do(func() { err = setFlags(fmt.Sprintf(interfaceName, number), flags) })
	if err != nil {
		t.Fatal(err)
	}
}

// pass moves packets one way until the hop is closed. They keep their order.
func (h *hop) pass(dst, src *os.File) {
	under := make(chan piece, 4096)
	h.running.Go(func() {
		for p := range under {
			time.Sleep(time.Until(p.due))
			dst.Write(p.bytes) // an interface that is down takes nothing, as it should
		}
	})
	defer close(under)
	buffer := make([]byte, longestPacket)
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
		case under <- piece{append([]byte(nil), buffer[:n]...), time.Now().Add(time.Duration(h.delay.Load()))}:
		default:
			h.lost.Add(1) // a router's queue has an end too
		}
	}
}

func isIPv4(packet []byte) bool { return len(packet) >= 20 && packet[0]>>4 == 4 }

// lossyWorld is clients, a proxy and a data centre in networks of their own.
type lossyWorld struct {
	clients *namespace
	near    *hop // between clients and proxy
	far     *hop // between proxy and data centre
}

// newLossyWorld says aloud where there can be none.
func newLossyWorld(t *testing.T) *lossyWorld {
	t.Helper()
	w := &lossyWorld{}
	var spaces [3]*namespace
	for i := range spaces {
		n, err := newNamespace()
		if err != nil {
			absent(t, "networks that lose packets", fmt.Errorf("no network namespace: %w", err))
			return nil
		}
		t.Cleanup(n.close)
		spaces[i] = n
	}
	w.clients = spaces[0]
	for i, h := range []**hop{&w.near, &w.far} {
		var err error
		if *h, err = join(spaces[i], spaces[i+1], byte(i+1)); err != nil {
			absent(t, "networks that lose packets", err)
			return nil
		}
		t.Cleanup(func() { (*h).close() })
	}
	return w
}
