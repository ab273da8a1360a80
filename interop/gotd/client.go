package gotd

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"sync"

	"github.com/cenkalti/backoff/v4"
	"github.com/gotd/td/exchange"
	"github.com/gotd/td/session"
	"github.com/gotd/td/telegram"
	"github.com/gotd/td/telegram/dcs"
	"github.com/gotd/td/tg"
)

// FileSizes are what is uploaded and downloaded: below, at and above the
// lengths at which envelopes and FakeTLS records change their form, up to
// what the API allows for one part of a file.
var FileSizes = []int{1, 400, 460, 2800, 15_000, 70_000, MaxFile}

// MaxFile is the largest of them. MaxFileFakeTLS is the largest one that gotd
// can send with an ee secret: it makes one record of each Write, however long.
// Above 16640 bytes a record is longer than TLS allows, which the listener
// refuses, and above 65535 its length is cut to 16 bits.
const (
	MaxFile        = 512 << 10
	MaxFileFakeTLS = 15_000
)

// Options are those of a client of the test server with that key.
func Options(resolver dcs.Resolver, list dcs.List, key exchange.PublicKey, reconnect func() backoff.BackOff) telegram.Options {
	return telegram.Options{
		PublicKeys:          []exchange.PublicKey{key},
		DC:                  DC,
		DCList:              list,
		Resolver:            resolver,
		SessionStorage:      &session.StorageMemory{},
		Random:              &luckyRand{},
		NoUpdates:           true,
		CompressThreshold:   -1,
		ReconnectionBackoff: reconnect,
	}
}

// Use runs gotd's client: it makes an auth key, opens a session with
// help.getConfig, calls that once more, and sends and fetches files of at most
// maxFile bytes. The connection that resolver gives must last for all of it:
// a second one is not tried.
func Use(ctx context.Context, resolver dcs.Resolver, list dcs.List, key exchange.PublicKey, maxFile int) error {
	never := func() backoff.BackOff { return &backoff.StopBackOff{} }
	client := telegram.NewClient(1, "hash", Options(resolver, list, key, never))
	return client.Run(ctx, func(ctx context.Context) error {
		config, err := client.API().HelpGetConfig(ctx)
		if err != nil {
			return fmt.Errorf("help.getConfig: %w", err)
		}
		if config.ThisDC != DC || config.MeURLPrefix != configTMe {
			return fmt.Errorf("help.getConfig: another server's answer: %+v", config)
		}
		for _, size := range FileSizes {
			if size > maxFile {
				break
			}
			if err := sendAndFetch(ctx, client.API(), size); err != nil {
				return err
			}
		}
		return nil
	})
}

func sendAndFetch(ctx context.Context, api *tg.Client, size int) error {
	file := make([]byte, size)
	rand.Read(file)
	saved, err := api.UploadSaveFilePart(ctx, &tg.UploadSaveFilePartRequest{FileID: 1, Bytes: file})
	if err != nil || !saved {
		return fmt.Errorf("upload.saveFilePart with %d bytes: %v, %w", size, saved, err)
	}
	got, err := fetch(ctx, api, &tg.UploadGetFileRequest{Location: &tg.InputTakeoutFileLocation{}, Limit: size})
	if err != nil {
		return fmt.Errorf("upload.getFile of %d bytes: %w", size, err)
	}
	if !bytes.Equal(got, file) {
		return fmt.Errorf("upload.getFile of %d bytes: not what was saved", size)
	}
	return nil
}

// ErrOtherAnswer means that an answer is not the one to its request.
var ErrOtherAnswer = errors.New("the answer is that of another request")

// FetchDocument calls upload.getFile once, and checks that the answer has the
// bytes that were asked for.
func FetchDocument(ctx context.Context, api *tg.Client) error {
	id, size := mathrand.Int64(), 1+mathrand.IntN(MaxFileFakeTLS)
	location := &tg.InputDocumentFileLocation{ID: id}
	got, err := fetch(ctx, api, &tg.UploadGetFileRequest{Location: location, Limit: size})
	if err == nil && !bytes.Equal(got, documentBytes(id, size)) {
		err = ErrOtherAnswer
	}
	return err
}

func fetch(ctx context.Context, api *tg.Client, request *tg.UploadGetFileRequest) ([]byte, error) {
	answer, err := api.UploadGetFile(ctx, request)
	if err != nil {
		return nil, err
	}
	file, ok := answer.(*tg.UploadFile)
	if !ok {
		return nil, fmt.Errorf("the answer is %T", answer)
	}
	return file.Bytes, nil
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
