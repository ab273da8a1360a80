package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/frame"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/proxy"
	"github.com/spf13/cobra"
)

func demoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Exercise every transport on loopback",
		Long: `Run a data centre, a proxy and a client in this process, over sockets of the
loopback interface. They exchange packets, quick acknowledgements and transport
errors over every framing, plain and obfuscated, on every carrier, and through
the proxy in every mode. Prints a table, and exits with 0 if every row succeeded.`,
		Example: `  mtwire demo`,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := startDemo(cmd.Context())
			if err != nil {
				return err
			}
			defer d.stop()
			if failed := d.run(cmd.Context(), cmd.OutOrStdout()); failed > 0 {
				return &exitError{code: 1} // the table has the errors
			}
			return nil
		},
	}
}

// demo is a data centre and a proxy that leads to it.
type demo struct {
	dc, proxy net.Listener
	clientTLS *tls.Config
	cancel    context.CancelFunc
	serving   sync.WaitGroup
}

// startDemo starts a demo. The caller stops it.
func startDemo(ctx context.Context) (*demo, error) {
	d := &demo{}
	ctx, d.cancel = context.WithCancel(ctx)

	serverTLS, clientTLS, err := mtwiretest.Certificate()
	if err != nil {
		return nil, err
	}
	d.clientTLS = clientTLS
	if d.dc, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	if d.proxy, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		d.dc.Close()
		return nil, err
	}
	secret, err := mtwire.ParseSecret(mtwiretest.PlainSecret) // the key for all modes
	if err != nil {
		return nil, err
	}
	p, err := proxy.New(proxy.Config{
		Users:       []proxy.User{{Secrets: []mtwire.Secret{secret}}},
		DataCenters: map[mtwire.DC][]string{0: {d.dc.Addr().String()}},
		Log:         slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	dc := &mtwiretest.DataCenter{Listener: mtwire.NewListener(d.dc, &mtwire.ListenConfig{ObfuscatedFull: true, TLS: serverTLS})}
	d.serving.Go(func() { dc.Serve(ctx) })
	d.serving.Go(func() {
		defer p.Close()
		p.Serve(ctx, d.proxy)
	})
	return d, nil
}

func (d *demo) stop() {
	d.cancel()
	d.serving.Wait()
}

// run tries all modes, prints a row for each, and returns the number of modes that
// failed.
func (d *demo) run(ctx context.Context, out io.Writer) (failed int) {
	table := demoTable{out, helpWidth(out)}
	table.header()
	total := 0
	try := func(through string, m mtwiretest.Mode, ln net.Listener) {
		total++
		r := d.try(ctx, m, ln)
		if r.err != nil {
			failed++
		}
		table.row(through, m, r)
	}
	for _, m := range mtwiretest.DirectModes() {
		try("direct", m, d.dc)
	}
	for _, m := range mtwiretest.ProxiedModes() {
		try(map[string]string{"plain": "classic", "padded": "dd", "faketls": "ee"}[secretMode(m)], m, d.proxy)
	}
	fmt.Fprintf(out, "\n%d passed, %d failed\n", total-failed, failed)
	return failed
}

// secretMode returns the mode of a proxied mode's secret.
func secretMode(m mtwiretest.Mode) string {
	ep, err := mtwire.ParseEndpoint(fmt.Sprintf(m.URL, "127.0.0.1:1"))
	if err != nil {
		return ""
	}
	return ep.Secret.Mode.String()
}

// row is the result of one mode.
type row struct {
	roundTrip time.Duration // of a request for resPQ
	err       error         // of the first exchange that failed
}

// demoSizes are the sizes of the encrypted packets' data, in bytes: both forms of
// Abridged's length, and packets that need one read and many.
var demoSizes = []int{4, 300, 440, 476, 480, 4096, 65536, 1 << 20}

// demoLimit is the time limit of all exchanges in one mode. They take milliseconds, but on a
// busy machine.
const demoLimit = 30 * time.Second

// try makes all exchanges in one mode, until one fails.
func (d *demo) try(ctx context.Context, m mtwiretest.Mode, ln net.Listener) (r row) {
	ctx, cancel := context.WithTimeout(ctx, demoLimit)
	defer cancel()
	conn, err := mtwire.Dial(ctx, m.Endpoint(ln.Addr()), &mtwire.DialConfig{TLS: d.clientTLS, ObfuscatedFull: m.ObfuscatedFull})
	if err != nil {
		r.err = fmt.Errorf("dial: %w", err)
		return r
	}
	defer conn.Close()
	if r.roundTrip, err = demoResPQ(ctx, conn); err != nil {
		r.err = fmt.Errorf("resPQ: %w", err)
		return r
	}
	if err := demoPackets(ctx, conn); err != nil {
		r.err = fmt.Errorf("packets: %w", err)
		return r
	}
	// Full and HTTP have no quick acknowledgements.
	if t := conn.Transport(); t.Protocol != mtwire.Full && t.Carrier != mtwire.HTTP {
		if err := demoQuickAck(ctx, conn); err != nil {
			r.err = fmt.Errorf("quick ack: %w", err)
			return r
		}
	}
	if err := demoTransportError(ctx, conn); err != nil {
		r.err = fmt.Errorf("error 404: %w", err)
	}
	return r
}

// demoResPQ requests resPQ twice, as TDLib's ping does, the second time with a tail
// inside the message. It returns the round trip time of the second.
func demoResPQ(ctx context.Context, conn *mtwire.Conn) (took time.Duration, err error) {
	for _, tail := range [][]byte{nil, make([]byte, 44)} {
		var nonce [16]byte
		rand.Read(nonce[:])
		rand.Read(tail)
		start := time.Now()
		if err := conn.Send(ctx, mtwiretest.AppendReqPQ(nil, nonce, tail)); err != nil {
			return 0, err
		}
		p, err := conn.Receive(ctx)
		if err != nil {
			return 0, err
		}
		took = time.Since(start)
		if err := mtwiretest.CheckResPQ(p.Payload, nonce); err != nil {
			return 0, err
		}
	}
	return took, nil
}

// demoPackets exchanges encrypted packets of all sizes.
func demoPackets(ctx context.Context, conn *mtwire.Conn) error {
	for _, size := range demoSizes {
		data := make([]byte, size)
		rand.Read(data)
		message, _ := mtwiretest.Seal(data, frame.Client)
		if err := conn.Send(ctx, message); err != nil {
			return err
		}
		p, err := conn.Receive(ctx)
		if err != nil {
			return err
		}
		back, _, err := mtwiretest.Open(p.Payload, frame.Server)
		if err != nil {
			return err
		}
		if !bytes.Equal(back, data) {
			return fmt.Errorf("%d bytes came back changed", size)
		}
	}
	return nil
}

// demoQuickAck requests a quick acknowledgement, which must have the token of the
// message and arrive before the answer.
func demoQuickAck(ctx context.Context, conn *mtwire.Conn) error {
	message, token := mtwiretest.Seal([]byte("ack this"), frame.Client)
	if err := conn.SendPacket(ctx, mtwire.Packet{Payload: message, AckWanted: true}); err != nil {
		return err
	}
	p, err := conn.Receive(ctx)
	if err != nil {
		return err
	}
	if p.Kind != mtwire.KindQuickAck || p.Token != token {
		return fmt.Errorf("%v %08x, want token %08x", p.Kind, p.Token, token)
	}
	if p, err = conn.Receive(ctx); err != nil {
		return err
	}
	if p.Kind != mtwire.KindPayload {
		return fmt.Errorf("%v follows it", p.Kind)
	}
	return nil
}

// demoTransportError sends a message under an unknown auth key, whose answer must be
// transport error 404.
func demoTransportError(ctx context.Context, conn *mtwire.Conn) error {
	message := make([]byte, 24+64)
	rand.Read(message)
	if err := conn.Send(ctx, message); err != nil {
		return err
	}
	p, err := conn.Receive(ctx)
	var received *mtwire.TransportError
	if !errors.As(err, &received) || received.Code != frame.CodeAuthKeyAbsent {
		return fmt.Errorf("received %v, %v", p.Kind, err)
	}
	return nil
}
