package interop

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/cenkalti/backoff/v4"
	"github.com/gotd/td/bin"
	"github.com/gotd/td/exchange"
	"github.com/gotd/td/proto/codec"
	"github.com/gotd/td/session"
	"github.com/gotd/td/telegram"
	"github.com/gotd/td/telegram/dcs"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/transport"

	"github.com/mtwire/mtwire"
)

// fileSizes are what is uploaded and downloaded: below, at and above the
// lengths at which envelopes and FakeTLS records change their form, up to
// what the API allows for one part of a file.
var fileSizes = []int{1, 400, 460, 2800, 15_000, 70_000, 512 << 10}

// useTelegram runs gotd's client: it makes an auth key, opens a session with
// help.getConfig, calls that once more, and sends and fetches files of at most
// maxFile bytes. The connection that resolver gives must last for all of it:
// a second one is not tried.
func useTelegram(ctx context.Context, resolver dcs.Resolver, list dcs.List, key exchange.PublicKey, maxFile int) error {
	client := telegram.NewClient(1, "hash", telegram.Options{
		PublicKeys:          []exchange.PublicKey{key},
		DC:                  dcID,
		DCList:              list,
		Resolver:            resolver,
		SessionStorage:      &session.StorageMemory{},
		Random:              &luckyRand{},
		NoUpdates:           true,
		CompressThreshold:   -1,
		ReconnectionBackoff: func() backoff.BackOff { return &backoff.StopBackOff{} },
	})
	return client.Run(ctx, func(ctx context.Context) error {
		config, err := client.API().HelpGetConfig(ctx)
		if err != nil {
			return fmt.Errorf("help.getConfig: %w", err)
		}
		if config.ThisDC != dcID || config.MeURLPrefix != configTMe {
			return fmt.Errorf("help.getConfig: another server's answer: %+v", config)
		}
		for _, size := range fileSizes {
			if size > maxFile {
				break
			}
			file := make([]byte, size)
			rand.Read(file)
			saved, err := client.API().UploadSaveFilePart(ctx, &tg.UploadSaveFilePartRequest{FileID: 1, Bytes: file})
			if err != nil || !saved {
				return fmt.Errorf("upload.saveFilePart with %d bytes: %v, %w", size, saved, err)
			}
			answer, err := client.API().UploadGetFile(ctx, &tg.UploadGetFileRequest{Location: &tg.InputTakeoutFileLocation{}, Limit: size})
			if err != nil {
				return fmt.Errorf("upload.getFile of %d bytes: %w", size, err)
			}
			if got, ok := answer.(*tg.UploadFile); !ok || !bytes.Equal(got.Bytes, file) {
				return fmt.Errorf("upload.getFile of %d bytes: not what was saved", size)
			}
		}
		return nil
	})
}

// luckyRand is random, but for two guesses with which gotd's client begins to
// factor pq. The server's pq is always the same, and from these the factors are
// found in 9 steps and not in some 30,000, each of them slow under the race
// detector.
type luckyRand struct {
	mu      sync.Mutex
	guesses int
}

func (r *luckyRand) Read(p []byte) (int, error) {
	if len(p) != 8 {
		return rand.Read(p)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch r.guesses++; r.guesses {
	case 1:
		binary.BigEndian.PutUint64(p, 0)
	case 2:
		binary.BigEndian.PutUint64(p, 63208)
	default:
		return rand.Read(p)
	}
	return len(p), nil
}

// useUnknownKey sends a message under an auth key that the server cannot know,
// as often as it says, and wants to be told 404 each time.
func useUnknownKey(ctx context.Context, conn transport.Conn, times int) error {
	for range times {
		message := make([]byte, 24+5*16)
		rand.Read(message)
		message[0] |= 1 // a key id of zero would mean that there is no key
		if err := conn.Send(ctx, &bin.Buffer{Buf: message}); err != nil {
			return err
		}
		var b bin.Buffer
		err := conn.Recv(ctx, &b)
		var refused *codec.ProtocolErr
		if !errors.As(err, &refused) || refused.Code != codec.CodeAuthKeyNotFound {
			return fmt.Errorf("want transport error 404, got %d bytes and %w", b.Len(), err)
		}
	}
	return nil
}

// adapter is an mtwire.Conn as gotd knows connections, so that all of gotd
// above the transport runs on it.
type adapter struct{ conn *mtwire.Conn }

var _ transport.Conn = adapter{}

func (a adapter) Send(ctx context.Context, b *bin.Buffer) error { return a.conn.Send(ctx, b.Buf) }

func (a adapter) Recv(ctx context.Context, b *bin.Buffer) error {
	for {
		p, err := a.conn.Receive(ctx)
		var refused *mtwire.TransportError
		if errors.As(err, &refused) {
			return &codec.ProtocolErr{Code: int32(refused.Code)}
		}
		if err != nil {
			return err
		}
		if p.Kind == mtwire.KindPayload {
			b.Buf = append(b.Buf[:0], p.Payload...)
			return nil
		}
	}
}

func (a adapter) Close() error { return a.conn.Close() }

// dialer is a resolver that dials with mtwire, whatever it is asked for.
type dialer struct {
	endpoint string
	config   *mtwire.DialConfig
}

var _ dcs.Resolver = dialer{}

func (d dialer) Primary(ctx context.Context, _ int, _ dcs.List) (transport.Conn, error) {
	conn, err := mtwire.Dial(ctx, d.endpoint, d.config)
	if err != nil {
		return nil, err
	}
	return adapter{conn}, nil
}

func (d dialer) MediaOnly(ctx context.Context, dc int, list dcs.List) (transport.Conn, error) {
	return d.Primary(ctx, dc, list)
}

func (d dialer) CDN(ctx context.Context, dc int, list dcs.List) (transport.Conn, error) {
	return d.Primary(ctx, dc, list)
}
