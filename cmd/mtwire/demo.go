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
	"text/tabwriter"
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
		Short: "Show every transport at work on loopback",
		Long: `Run a data centre, a proxy and a client in this process, over real sockets of
the loopback interface, and let them exchange packets, quick acknowledgements
and transport errors over every framing, plain and obfuscated, on every
carrier, and through the proxy in every mode. Prints a table, and exits with 0
only if all of it worked.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := startDemo(cmd.Context())
			if err != nil {
				return err
			}
			defer d.stop()
			if failed := d.run(cmd.Context(), cmd.OutOrStdout()); failed > 0 {
				return &exitError{code: 1}
			}
			return nil
		},
	}
}

// demo is a data centre and a proxy in front of it.
type demo struct {
	dc, proxy net.Listener
	clientTLS *tls.Config
	cancel    context.CancelFunc
	serving   sync.WaitGroup
}

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
	secret, err := mtwire.ParseSecret(mtwiretest.PlainSecret) // good for all modes
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

// run goes through all modes, prints a row for each, and returns how many
// failed.
func (d *demo) run(ctx context.Context, out io.Writer) (failed int) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "THROUGH\tTRANSPORT\tDC\tresPQ\tPACKETS\tQUICK ACK\tERROR 404\tRESULT")
	total := 0
	try := func(through string, m mtwiretest.Mode, ln net.Listener) {
		total++
		r := d.try(ctx, m, ln)
		result := "ok"
		if r.err != nil {
			result = r.err.Error()
			failed++
		}
		dc := "-"
		if m.DC != 0 {
			dc = fmt.Sprint(m.DC)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", through, m.Transport, dc, r.resPQ, r.packets, r.quickAck, r.refusal, result)
	}
	for _, m := range mtwiretest.DirectModes() {
		try("direct", m, d.dc)
	}
	for _, m := range mtwiretest.ProxiedModes() {
		through := "proxy, " + map[string]string{"plain": "classic", "padded": "dd", "faketls": "ee"}[secretMode(m)]
		try(through, m, d.proxy)
	}
	w.Flush()
	fmt.Fprintf(out, "\n%d passed, %d failed\n", total-failed, failed)
	return failed
}

func secretMode(m mtwiretest.Mode) string {
	ep, err := mtwire.ParseEndpoint(fmt.Sprintf(m.URL, "127.0.0.1:1"))
	if err != nil {
		return ""
	}
	return ep.Secret.Mode.String()
}

// row is what one mode achieved: a time, a count or a mark in each column.
type row struct {
	resPQ, packets, quickAck, refusal string
	err                               error
}

// sizes of the encrypted packets' data: both forms of Abridged's length, a
// padded end in any place, and one that takes many reads.
var demoSizes = []int{4, 300, 440, 476, 480, 4096, 65536, 1 << 20}

func (d *demo) try(ctx context.Context, m mtwiretest.Mode, ln net.Listener) (r row) {
	r = row{"-", "-", "-", "-", nil}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := mtwire.Dial(ctx, m.Endpoint(ln.Addr()), &mtwire.DialConfig{TLS: d.clientTLS, ObfuscatedFull: m.ObfuscatedFull})
	if err != nil {
		r.err = fmt.Errorf("dial: %w", err)
		return r
	}
	defer conn.Close()
	if r.resPQ, err = demoResPQ(ctx, conn); err != nil {
		r.err = fmt.Errorf("resPQ: %w", err)
		return r
	}
	if r.packets, err = demoPackets(ctx, conn); err != nil {
		r.err = fmt.Errorf("packets: %w", err)
		return r
	}
	// Full and HTTP have no quick acknowledgement.
	if t := conn.Transport(); t.Protocol != mtwire.Full && t.Carrier != mtwire.HTTP {
		if r.quickAck, err = demoQuickAck(ctx, conn); err != nil {
			r.err = fmt.Errorf("quick ack: %w", err)
			return r
		}
	}
	if r.refusal, err = demoRefusal(ctx, conn); err != nil {
		r.err = fmt.Errorf("transport error: %w", err)
	}
	return r
}

// demoResPQ asks twice, as TDLib's ping does, the second time with a tail
// inside the message, and tells how long an answer took.
func demoResPQ(ctx context.Context, conn *mtwire.Conn) (string, error) {
	var took time.Duration
	for _, tail := range [][]byte{nil, make([]byte, 44)} {
		var nonce [16]byte
		rand.Read(nonce[:])
		rand.Read(tail)
		start := time.Now()
		if err := conn.Send(ctx, mtwiretest.AppendReqPQ(nil, nonce, tail)); err != nil {
			return "-", err
		}
		p, err := conn.Receive(ctx)
		if err != nil {
			return "-", err
		}
		took = time.Since(start)
		if err := mtwiretest.CheckResPQ(p.Payload, nonce); err != nil {
			return "-", err
		}
	}
	return took.Round(10 * time.Microsecond).String(), nil
}

// demoPackets exchanges encrypted packets of many sizes.
func demoPackets(ctx context.Context, conn *mtwire.Conn) (string, error) {
	for i, size := range demoSizes {
		data := make([]byte, size)
		rand.Read(data)
		message, _ := mtwiretest.Seal(data, frame.Client)
		if err := conn.Send(ctx, message); err != nil {
			return fmt.Sprint(i), err
		}
		p, err := conn.Receive(ctx)
		if err != nil {
			return fmt.Sprint(i), err
		}
		back, _, err := mtwiretest.Open(p.Payload, frame.Server)
		if err != nil {
			return fmt.Sprint(i), err
		}
		if !bytes.Equal(back, data) {
			return fmt.Sprint(i), fmt.Errorf("%d bytes came back changed", size)
		}
	}
	return fmt.Sprint(len(demoSizes)), nil
}

// demoQuickAck wants the token that follows from the auth key and the text,
// and then the answer.
func demoQuickAck(ctx context.Context, conn *mtwire.Conn) (string, error) {
	message, token := mtwiretest.Seal([]byte("ack this"), frame.Client)
	if err := conn.SendPacket(ctx, mtwire.Packet{Payload: message, AckWanted: true}); err != nil {
		return "-", err
	}
	p, err := conn.Receive(ctx)
	if err != nil {
		return "-", err
	}
	if p.Kind != mtwire.KindQuickAck || p.Token != token {
		return "-", fmt.Errorf("%v %08x, want token %08x", p.Kind, p.Token, token)
	}
	if p, err = conn.Receive(ctx); err != nil {
		return "-", err
	}
	if p.Kind != mtwire.KindPayload {
		return "-", fmt.Errorf("%v behind it", p.Kind)
	}
	return fmt.Sprintf("%08x", token), nil
}

// demoRefusal uses a key that the data centre does not know.
func demoRefusal(ctx context.Context, conn *mtwire.Conn) (string, error) {
	message := make([]byte, 24+64)
	rand.Read(message)
	if err := conn.Send(ctx, message); err != nil {
		return "-", err
	}
	p, err := conn.Receive(ctx)
	var refusal *mtwire.TransportError
	if !errors.As(err, &refusal) || refusal.Code != frame.CodeAuthKeyAbsent {
		return "-", fmt.Errorf("%v, %v in its place", p.Kind, err)
	}
	return "ok", nil
}
