package gotd_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/proto/codec"
	"github.com/gotd/td/telegram/dcs"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/transport"

	"github.com/mtwire/mtwire"
	"github.com/mtwire/mtwire/gotd"
)

// answer is what server sends, or 404 to a packet that begins with 4.
var answer = []byte("sixteen bytes...")

// server accepts every transport, tells the DC of each connection to dcs, and answers
// each packet.
func server(t *testing.T, config *mtwire.ListenConfig) (address string, dcs chan mtwire.DC) {
	t.Helper()
	ln, err := mtwire.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	dcs = make(chan mtwire.DC, 16)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ln.Serve(t.Context(), func(ctx context.Context, conn *mtwire.Conn) {
			for first := true; ; first = false {
				packet, err := conn.Receive(ctx)
				if err != nil {
					return
				}
				if first {
					dcs <- conn.Transport().DC
				}
				if packet.Payload[0] == 4 {
					conn.SendError(ctx, 404)
				} else {
					conn.Send(ctx, answer)
				}
			}
		})
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String(), dcs
}

// use sends two packets, and fails unless the answers are a packet and 404.
func use(t *testing.T, conn transport.Conn) {
	t.Helper()
	defer conn.Close()
	var b bin.Buffer
	if err := conn.Send(t.Context(), &bin.Buffer{Buf: make([]byte, 40)}); err != nil {
		t.Fatal(err)
	}
	if err := conn.Recv(t.Context(), &b); err != nil || string(b.Buf) != string(answer) {
		t.Fatalf("received %q, %v", b.Buf, err)
	}
	conn.Send(t.Context(), &bin.Buffer{Buf: append([]byte{4}, make([]byte, 39)...)})
	var code *codec.ProtocolErr
	if err := conn.Recv(t.Context(), &b); !errors.As(err, &code) || code.Code != 404 {
		t.Fatalf("received %v in place of transport error 404", err)
	}
}

const key = "000102030405060708090a0b0c0d0e0f"

// The number that a proxy gets is the data centre's, with the purpose and the environment.
func TestResolverNamesTheDataCenterToAProxy(t *testing.T) {
	for _, text := range []string{key, "dd" + key, "ee" + key + "6578616d706c652e636f6d"} {
		secret, err := mtwire.ParseSecret(text)
		if err != nil {
			t.Fatal(err)
		}
		address, seen := server(t, &mtwire.ListenConfig{Secrets: []mtwire.Secret{secret}})
		host, port, _ := net.SplitHostPort(address)
		r, err := gotd.NewResolver("tg://proxy?server="+host+"&port="+port+"&secret="+text, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			dial func(context.Context, int, dcs.List) (transport.Conn, error)
			dc   int
			test bool
			want mtwire.DC
		}{
			{r.Primary, 4, false, 4},
			{r.Primary, 2, true, 10002},
			{r.MediaOnly, 4, false, -4},
			{r.MediaOnly, -4, false, -4},
			{r.MediaOnly, 2, true, -10002},
			{r.CDN, 203, false, 203},
		} {
			conn, err := c.dial(t.Context(), c.dc, dcs.List{Test: c.test})
			if err != nil {
				t.Fatal(err)
			}
			use(t, conn)
			if got := <-seen; got != c.want {
				t.Errorf("the proxy was asked for %d, not %d", got, c.want)
			}
		}
	}
}

func option(t *testing.T, address string) tg.DCOption {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return tg.DCOption{ID: 2, IPAddress: a.Addr().String(), Port: int(a.Port())}
}

// Without an address of its own, a Resolver uses those of gotd's list that are for the
// purpose, and their secrets.
func TestResolverUsesTheListsAddresses(t *testing.T) {
	plain, plainSeen := server(t, nil)
	downloads, mediaSeen := server(t, nil)
	secret, _ := mtwire.ParseSecret("dd" + key)
	secured, securedSeen := server(t, &mtwire.ListenConfig{Secrets: []mtwire.Secret{secret}})

	media, withSecret := option(t, downloads), option(t, secured)
	media.MediaOnly = true
	withSecret.TCPObfuscatedOnly, withSecret.Secret = true, secret.Bytes()
	refused := option(t, "127.0.0.1:1")

	r, err := gotd.NewResolver("tcp", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		dial    func(context.Context, int, dcs.List) (transport.Conn, error)
		options []tg.DCOption
		seen    chan mtwire.DC
		want    mtwire.DC
	}{
		"primary":                      {r.Primary, []tg.DCOption{refused, media, option(t, plain)}, plainSeen, 2},
		"media":                        {r.MediaOnly, []tg.DCOption{option(t, plain), media}, mediaSeen, -2},
		"with a secret":                {r.Primary, []tg.DCOption{withSecret}, securedSeen, 2},
		"with a secret, after refusal": {r.Primary, []tg.DCOption{withSecret, refused}, securedSeen, 2},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := c.dial(t.Context(), 2, dcs.List{Options: c.options})
			if err != nil {
				t.Fatal(err)
			}
			use(t, conn)
			if got := <-c.seen; got != c.want {
				t.Errorf("the server was asked for %d, not %d", got, c.want)
			}
		})
	}
}

func TestResolverUsesTheListsDomains(t *testing.T) {
	address, seen := server(t, nil)
	for scheme, r := range map[string]*gotd.Resolver{
		"ws":   {Endpoint: mtwire.Endpoint{Carrier: mtwire.WebSocket}},
		"http": {Endpoint: mtwire.Endpoint{Carrier: mtwire.HTTP}},
	} {
		path := map[string]string{"ws": "/apiws", "http": "/api"}[scheme]
		conn, err := r.Primary(t.Context(), 2, dcs.List{Domains: map[int]string{2: scheme + "://" + address + path}})
		if err != nil {
			t.Fatal(err)
		}
		use(t, conn)
		<-seen
	}
}

func TestResolverRefusesWhatItCannotDial(t *testing.T) {
	r := &gotd.Resolver{}
	for _, dc := range []int{0, 1 << 20, -1 << 20} {
		if _, err := r.Primary(t.Context(), dc, dcs.List{}); err == nil {
			t.Errorf("DC %d is dialled", dc)
		}
	}
	if _, err := r.CDN(t.Context(), 77, dcs.List{}); !errors.Is(err, mtwire.ErrUnknownDC) {
		t.Errorf("a CDN without an address: %v", err)
	}
	if _, err := gotd.NewResolver("tg://proxy?server=h&port=1&secret=xyz"+key, nil); err == nil {
		t.Error("a bad link is accepted")
	}
}
