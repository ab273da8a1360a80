package handshake_test

import (
	"context"
	"io"
	"testing"

	"github.com/mtwire/mtwire/faketls"
	"github.com/mtwire/mtwire/internal/handshake"
	"github.com/mtwire/mtwire/mtproxy"
	"github.com/mtwire/mtwire/mtwiretest"
	"github.com/mtwire/mtwire/obfuscation"
)

// BenchmarkRun measures a server's part of a handshake on a socket, without a search for
// the key among many, and without goroutines: the client has sent everything before.
func BenchmarkRun(b *testing.B) {
	dd, ee := secretOf(b, mtwiretest.PaddedSecret), secretOf(b, mtwiretest.FakeTLSSecret)
	first := newUpload(b, ee.Key, nil).wire
	hello := append(clientHello(b, ee), "\x14\x03\x03\x00\x01\x01"...)
	hello = append(faketls.AppendRecordHeader(hello, len(first)), first...)
	for _, c := range []struct {
		name   string
		secret mtproxy.Secret
		client []byte
		answer int
		shape  faketls.ServerHelloShape
	}{
		{"dd", dd, newUpload(b, dd.Key, nil).wire, 0, faketls.ServerHelloShape{}},
		{"ee", ee, hello, 127 + 6 + faketls.RecordHeaderLength + 1088 + 3000, faketls.ServerHelloShape{DataSize: 3000}},
	} {
		b.Run(c.name, func(b *testing.B) {
			server, client := tcpPair(b)
			set := mtproxy.NewKeySet(c.secret)
			auth := &testAuth{shape: c.shape, find: func(_ context.Context, _ handshake.Query, try func(*mtproxy.KeySet) int) (int, error) {
				return try(set), nil
			}}
			answer := make([]byte, c.answer)
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			b.ReportAllocs()
			for b.Loop() {
				client.Write(c.client)
				r, err := run(ctx, handshake.New(server), withSecrets, auth)
				if err != nil || r.Upload == (obfuscation.KeyStream{}) {
					b.Fatal(r, err)
				}
				if _, err := io.ReadFull(client, answer); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
