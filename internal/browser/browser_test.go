package browser

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	utls "github.com/refraction-networking/utls"

	"github.com/mtwire/mtwire/internal/loopback"
	"github.com/mtwire/mtwire/internal/netx"
)

// sentHello returns the record that Client sends first.
func sentHello(t *testing.T) []byte {
	t.Helper()
	ours, theirs := net.Pipe()
	defer theirs.Close()
	go Client(context.Background(), ours, "kws2.web.telegram.org", nil)
	record := make([]byte, 1<<14)
	theirs.SetDeadline(time.Now().Add(30 * time.Second))
	n, err := theirs.Read(record)
	if err != nil {
		t.Fatal(err)
	}
	return record[:n]
}

// The hello is that of Chrome for a WebSocket. The lists are those of a hello that
// Chromium 156 has sent for new WebSocket("wss://kws2.web.telegram.org/apiws"), on
// 2026-11-28, with two differences of versions: Chromium 156 has signature algorithms of
// ML-DSA (35466 and 2308 to 2310) and the extension 51764 as well.
func TestTheHelloIsABrowsersForAWebSocket(t *testing.T) {
	spec, err := (&utls.Fingerprinter{AllowBluntMimicry: true}).FingerprintClientHello(sentHello(t))
	if err != nil {
		t.Fatal(err)
	}
	suites := []uint16{utls.GREASE_PLACEHOLDER, 4865, 4866, 4867, 49195, 49199, 49196, 49200, 52393, 52392, 49171, 49172, 156, 157, 47, 53}
	if !slices.Equal(spec.CipherSuites, suites) {
		t.Errorf("suites %v", spec.CipherSuites)
	}
	var kinds []string
	for _, extension := range spec.Extensions {
		switch e := extension.(type) {
		case *utls.ALPNExtension:
			if !slices.Equal(e.AlpnProtocols, []string{"http/1.1"}) {
				t.Errorf("ALPN %v", e.AlpnProtocols)
			}
			kinds = append(kinds, "alpn")
		case *utls.SupportedCurvesExtension:
			if !slices.Equal(e.Curves, []utls.CurveID{utls.GREASE_PLACEHOLDER, utls.X25519MLKEM768, utls.X25519, utls.CurveP256, utls.CurveP384}) {
				t.Errorf("curves %v", e.Curves)
			}
			kinds = append(kinds, "curves")
		case *utls.SupportedVersionsExtension:
			if !slices.Equal(e.Versions, []uint16{utls.GREASE_PLACEHOLDER, 0x304, 0x303}) {
				t.Errorf("versions %v", e.Versions)
			}
			kinds = append(kinds, "versions")
		case *utls.KeyShareExtension:
			if len(e.KeyShares) != 3 || e.KeyShares[1].Group != utls.X25519MLKEM768 || e.KeyShares[2].Group != utls.X25519 {
				t.Errorf("key shares %v", e.KeyShares)
			}
			kinds = append(kinds, "shares")
		case *utls.SignatureAlgorithmsExtension:
			want := []utls.SignatureScheme{0x403, 0x804, 0x401, 0x503, 0x805, 0x501, 0x806, 0x601}
			if !slices.Equal(e.SupportedSignatureAlgorithms, want) {
				t.Errorf("signature algorithms %v", e.SupportedSignatureAlgorithms)
			}
			kinds = append(kinds, "signatures")
		case *utls.UtlsCompressCertExtension:
			if !slices.Equal(e.Algorithms, []utls.CertCompressionAlgo{utls.CertCompressionBrotli}) {
				t.Errorf("compression of certificates %v", e.Algorithms)
			}
			kinds = append(kinds, "compression")
		case *utls.ExtendedMasterSecretExtension:
			kinds = append(kinds, "ems")
		case *utls.GREASEEncryptedClientHelloExtension:
			kinds = append(kinds, "ech")
		case *utls.PSKKeyExchangeModesExtension:
			kinds = append(kinds, "psk")
		case *utls.RenegotiationInfoExtension:
			kinds = append(kinds, "renegotiation")
		case *utls.SCTExtension:
			kinds = append(kinds, "sct")
		case *utls.SNIExtension:
			kinds = append(kinds, "sni")
		case *utls.SessionTicketExtension:
			kinds = append(kinds, "ticket")
		case *utls.StatusRequestExtension:
			kinds = append(kinds, "ocsp")
		case *utls.SupportedPointsExtension:
			kinds = append(kinds, "points")
		case *utls.UtlsGREASEExtension:
			kinds = append(kinds, "grease")
		default:
			t.Errorf("%T is none of Chrome's", e)
		}
	}
	slices.Sort(kinds)
	const want = "alpn compression curves ech ems grease grease ocsp points psk renegotiation sct shares signatures sni ticket versions"
	if got := strings.Join(kinds, " "); got != want {
		t.Errorf("extensions %s", got)
	}
}

// The server's certificate must be one for its name, of the roots. The connection has
// deadlines, and the socket below it.
func TestTheCertificateIsVerified(t *testing.T) {
	server, roots, err := loopback.Certificate("front.example")
	if err != nil {
		t.Fatal(err)
	}
	_, others, err := loopback.Certificate("front.example")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		ok   bool
	}{{"front.example", true}, {"other.example", false}} {
		for _, trusted := range []bool{true, false} {
			config := roots
			if !trusted {
				config = others
			}
			client, conn, err := loopback.Pair()
			if err != nil {
				t.Fatal(err)
			}
			next := make(chan struct{})
			go handshake(conn, server, next)
			got, err := Client(t.Context(), client, test.name, config)
			if (err == nil) != (test.ok && trusted) {
				t.Errorf("%s, trusted %v: %v", test.name, trusted, err)
			}
			if err == nil {
				if below, ok := netx.Below[*net.TCPConn](got); !ok || below != client {
					t.Error("the socket is not below")
				}
				got.SetReadDeadline(time.Now())
				if _, err := got.Read(make([]byte, 1)); !netx.IsTimeout(err) {
					t.Error(err)
				}
				got.SetReadDeadline(time.Time{})
				close(next)
				if n, err := got.Read(make([]byte, 9)); n != 2 || err != nil {
					t.Errorf("%d bytes after a deadline, %v", n, err)
				}
			}
			client.Close()
			conn.Close()
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ours, theirs := net.Pipe()
	defer theirs.Close()
	if _, err := Client(ctx, ours, "front.example", nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// handshake serves one TLS client, which gets two bytes when next is closed.
func handshake(conn net.Conn, config *tls.Config, next <-chan struct{}) {
	secure := tls.Server(conn, config)
	if secure.Handshake() == nil {
		<-next
		secure.Write([]byte("hi"))
	}
}

// A server without HTTP/1.1 refuses the only protocol that is offered, and the error says
// so.
func TestAServerWithoutHTTP1IsTold(t *testing.T) {
	server, client, err := loopback.Certificate("front.example")
	if err != nil {
		t.Fatal(err)
	}
	server.NextProtos = []string{"h2c"} // crypto/tls answers a client of http/1.1 although it has only h2
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	go tls.Server(theirs, server).Handshake()
	if _, err := Client(t.Context(), ours, "front.example", client); err == nil || !strings.Contains(err.Error(), "has HTTP/2 only") {
		t.Errorf("%v", err)
	}
}
